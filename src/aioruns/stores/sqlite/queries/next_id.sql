SELECT id FROM runs WHERE {condition} AND id < walk.id ORDER BY id DESC LIMIT 1
