SELECT runs.id FROM run_spans CROSS JOIN runs ON runs.id BETWEEN first_id AND min(last_id, walk.id - 1)
WHERE first_id < walk.id AND {span} ORDER BY first_id DESC, runs.id DESC LIMIT 1
