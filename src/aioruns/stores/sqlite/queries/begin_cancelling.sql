-- For a run that its manager cancelled while the request itself could not be stored.
UPDATE runs SET
    status = CASE status WHEN 'running' THEN 'cancelling' ELSE status END,
    cancel_requested_at = :at,
    cancel_reason = :reason
WHERE id = :run_id AND manager_id = :manager_id AND attempt = :attempt AND status IN ('pending', 'running')
