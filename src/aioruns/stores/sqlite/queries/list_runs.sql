SELECT {columns} FROM runs WHERE {conditions} ORDER BY id DESC LIMIT :limit
