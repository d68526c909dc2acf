DELETE FROM runs WHERE id IN ({ids}) AND finished_at IS NOT NULL RETURNING id
