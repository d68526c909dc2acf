SELECT id FROM managers WHERE id = ?
