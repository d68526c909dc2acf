SELECT wanted, {columns} FROM (SELECT value AS wanted FROM json_each(:run_ids)) LEFT JOIN runs ON id = wanted
WHERE id IS NULL OR status NOT IN ('pending', 'running') OR manager_id <> :manager_id
