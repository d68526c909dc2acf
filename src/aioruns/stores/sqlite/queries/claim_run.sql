UPDATE runs SET status = 'running', started_at = coalesce(started_at, :at)
WHERE id = :run_id AND manager_id = :manager_id AND attempt = :attempt AND status = 'pending'
RETURNING {columns}
