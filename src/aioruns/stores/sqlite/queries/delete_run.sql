DELETE FROM runs WHERE id = ? AND finished_at IS NOT NULL
