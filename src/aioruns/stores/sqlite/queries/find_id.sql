SELECT id FROM runs WHERE manager_id = ? AND token = ? AND (finished_at IS NULL OR started_at IS NULL)
