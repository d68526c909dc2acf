-- Where the streams of runs end, for those who own them: the last seq, the writer's last ordinal, whether the run is active.
WITH writers (run_id, manager_id, attempt) AS (VALUES {rows})
SELECT
    writers.run_id,
    writers.manager_id,
    writers.attempt,
    (SELECT max(seq) FROM events WHERE events.run_id = writers.run_id),
    coalesce((
        SELECT ordinal FROM events
        WHERE events.run_id = writers.run_id AND events.attempt = writers.attempt AND ordinal IS NOT NULL
        ORDER BY seq DESC LIMIT 1), 0),
    runs.finished_at IS NULL
FROM writers JOIN runs ON runs.id = writers.run_id
    AND runs.manager_id = writers.manager_id AND runs.attempt = writers.attempt
