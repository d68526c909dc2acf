-- The span says where the runs begin that may have been created since.
WITH newest AS (
    SELECT created_at, job, status, max(0, finished_at - started_at) AS micros
    FROM runs
    WHERE id >= (SELECT min(first_id) FROM run_spans WHERE latest >= :since)
    ORDER BY id DESC LIMIT :among
)
SELECT
    :since + (created_at - :since) / :width * :width AS start,
    job,
    status,
    CASE
        WHEN micros >= 3600000000 THEN 3600.0
        WHEN micros >= 600000000 THEN 600.0
        WHEN micros >= 60000000 THEN 60.0
        WHEN micros >= 10000000 THEN 10.0
        WHEN micros >= 1000000 THEN 1.0
        WHEN micros >= 100000 THEN 0.1
        WHEN micros >= 10000 THEN 0.01
        WHEN micros >= 0 THEN 0.0
    END AS longer_than,
    count(*)
FROM newest
WHERE created_at >= :since
GROUP BY start, job, status, longer_than
ORDER BY start, job, status, longer_than
