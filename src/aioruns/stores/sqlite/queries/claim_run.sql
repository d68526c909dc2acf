UPDATE runs SET status = 'running', started_at = coalesce(started_at, claim.column4)
FROM (VALUES {rows}) AS claim
WHERE id = claim.column1 AND manager_id = claim.column2 AND attempt = claim.column3 AND status = 'pending'
RETURNING {columns}
