SELECT {columns} FROM runs WHERE idempotency_key = ?
