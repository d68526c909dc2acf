SELECT {columns} FROM runs WHERE key = ? ORDER BY id DESC LIMIT 1
