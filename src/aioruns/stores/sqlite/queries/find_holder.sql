SELECT {columns} FROM runs WHERE held_key = ?
