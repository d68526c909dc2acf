UPDATE runs SET status = 'interrupted', finished_at = :at, held_key = NULL, error = :error
WHERE manager_id = :manager_id AND finished_at IS NULL
RETURNING id
