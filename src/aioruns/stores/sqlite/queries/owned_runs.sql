SELECT {columns} FROM runs WHERE manager_id = ? AND finished_at IS NULL ORDER BY id
