-- A run that has ended before a time was created before it.
SELECT id FROM run_spans CROSS JOIN runs ON id BETWEEN max(first_id, :after + 1) AND last_id
WHERE last_id > :after AND earliest < :finished_before AND finished_at < :finished_before
ORDER BY first_id, id LIMIT :limit
