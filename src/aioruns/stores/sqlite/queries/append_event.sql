-- Once per ordinal of this attempt, and only while the run is active and the writer its owner.
INSERT INTO events (run_id, seq, at, kind, attempt, ordinal, data)
SELECT
    id,
    1 + coalesce((SELECT max(seq) FROM events WHERE run_id = :run_id), 0),
    :at, :kind, :attempt, :ordinal, :data
FROM runs
WHERE id = :run_id AND manager_id = :manager_id AND attempt = :attempt AND finished_at IS NULL
    AND :ordinal > coalesce((
        SELECT ordinal FROM events
        WHERE run_id = :run_id AND attempt = :attempt AND ordinal IS NOT NULL
        ORDER BY seq DESC LIMIT 1), 0)
