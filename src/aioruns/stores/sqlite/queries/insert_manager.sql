INSERT INTO managers (id, pid, host, opened_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING
