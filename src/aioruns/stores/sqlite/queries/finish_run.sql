UPDATE runs SET
    status = ending.column4, finished_at = ending.column5, held_key = NULL,
    result = ending.column6, error = ending.column7, traceback = ending.column8
FROM (VALUES {rows}) AS ending
WHERE id = ending.column1 AND manager_id = ending.column2 AND attempt = ending.column3 AND finished_at IS NULL
RETURNING {columns}
