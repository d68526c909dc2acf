-- A unique index decides: held_key, idempotency_key, or the token of an insert that is repeated.
INSERT INTO runs (
    job, status, key, held_key, idempotency_key, shared, manager_id, token, attempt,
    timeout, tags, triggered_by, retry_of, arguments, created_at, started_at)
VALUES {rows}
ON CONFLICT DO NOTHING
