-- Also those that have runs and no row: taken for dead once, a manager may have gone on starting.
SELECT id FROM managers WHERE id <> :manager_id
UNION
SELECT manager_id FROM runs WHERE status IN ('pending', 'running', 'cancelling') AND manager_id <> :manager_id
