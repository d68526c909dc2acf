UPDATE runs SET shared = 1 WHERE held_key = ? AND job = ? RETURNING {columns}
