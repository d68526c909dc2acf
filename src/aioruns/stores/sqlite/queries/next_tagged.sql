SELECT min(coalesce((
    SELECT run_id FROM run_tags WHERE tag = wanted.value AND run_id < walk.id ORDER BY run_id DESC LIMIT 1), 0))
FROM json_each(:tags) AS wanted
