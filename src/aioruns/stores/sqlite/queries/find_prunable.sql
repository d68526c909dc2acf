SELECT id FROM runs WHERE finished_at < ? ORDER BY id LIMIT ?
