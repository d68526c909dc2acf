DELETE FROM run_spans
WHERE first_id < (SELECT coalesce(min(id), 9223372036854775807) FROM runs)
    AND last_id < (SELECT coalesce(min(id), 9223372036854775807) FROM runs)
