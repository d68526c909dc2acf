-- A run that waits has no function to wait for: it ends here and now.
UPDATE runs SET
    status = CASE status WHEN 'pending' THEN 'cancelled' ELSE 'cancelling' END,
    held_key = CASE status WHEN 'pending' THEN NULL ELSE held_key END,
    finished_at = CASE status WHEN 'pending' THEN :at END,
    cancel_requested_at = :at,
    cancel_reason = :reason
WHERE id = :run_id AND status IN ('pending', 'running') AND (shared = 0 OR NOT :unless_shared)
RETURNING {columns}
