-- The walk goes down from id to id. Each filter names the next id that satisfies it, and no id above the lowest of these
-- satisfies all. So a page costs as many steps as the rarest filter has ids, at most, whatever the others have.
WITH RECURSIVE walk (id) AS (
    SELECT :before
    UNION ALL
    SELECT min(:before, {next_ids}) FROM walk WHERE id > 0
)
SELECT {columns} FROM walk CROSS JOIN runs USING (id) WHERE id < :before AND {conditions} LIMIT :limit
