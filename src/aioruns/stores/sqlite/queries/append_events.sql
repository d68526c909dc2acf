INSERT INTO events (run_id, seq, at, kind, attempt, ordinal, data) VALUES {rows}
