-- Its row is what rescuers go by: it stays as long as there is a run to rescue.
DELETE FROM managers
WHERE id = :manager_id
    AND NOT EXISTS (SELECT 1 FROM runs WHERE manager_id = :manager_id AND finished_at IS NULL)
