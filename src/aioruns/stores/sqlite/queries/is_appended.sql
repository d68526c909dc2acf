-- Whether an owner whose events were not all inserted has lost nothing: it owns the run, or they were stored before the end.
SELECT 1 FROM runs
WHERE id = :run_id AND manager_id = :manager_id AND attempt = :attempt
    AND (finished_at IS NULL OR :ordinal <= (
        SELECT ordinal FROM events
        WHERE run_id = :run_id AND attempt = :attempt AND ordinal IS NOT NULL
        ORDER BY seq DESC LIMIT 1))
