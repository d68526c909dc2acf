SELECT max(({next_id})) FROM json_each(:statuses) AS wanted
