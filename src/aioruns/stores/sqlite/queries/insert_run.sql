-- A unique index decides: held_key, idempotency_key, or the token of an insert that is repeated.
INSERT INTO runs ({columns}) VALUES {rows} ON CONFLICT DO NOTHING
