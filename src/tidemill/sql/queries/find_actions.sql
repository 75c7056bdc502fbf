select w.word, a.id, a.id::pg_catalog.text operator(pg_catalog.=) w.word as by_id,
  pg_catalog.pg_get_userbyid(a.owner::pg_catalog.oid) operator(pg_catalog.=) current_user as own
from pg_catalog.unnest(%(words)s::pg_catalog.text[]) as w (word)
join tidemill.actions a on a.id::pg_catalog.text operator(pg_catalog.=) w.word or a.name operator(pg_catalog.=) w.word
order by a.id
