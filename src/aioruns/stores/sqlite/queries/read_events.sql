SELECT seq, at, kind, attempt, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?
