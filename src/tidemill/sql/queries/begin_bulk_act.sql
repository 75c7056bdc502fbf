select tidemill.begin_bulk_act(%(act)s::pg_catalog.text, %(filter)s::pg_catalog.jsonb, %(options)s::pg_catalog.jsonb)
