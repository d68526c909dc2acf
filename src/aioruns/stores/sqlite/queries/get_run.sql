SELECT {columns} FROM runs WHERE id = ?
