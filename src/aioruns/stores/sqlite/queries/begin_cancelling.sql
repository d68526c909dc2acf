-- For a run that its manager cancelled while the request itself could not be stored.
UPDATE runs SET status = 'cancelling', cancel_requested_at = :at, cancel_reason = :reason
WHERE id = :run_id AND manager_id = :manager_id AND attempt = :attempt AND status = 'running'
