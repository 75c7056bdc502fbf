-- By its id, its name, or what it runs: a routine with or without its schema, or a task.
select w.word, a.id, a.id::pg_catalog.text operator(pg_catalog.=) w.word as by_id,
  coalesce(a.name operator(pg_catalog.=) w.word, false) as by_name,
  pg_catalog.pg_get_userbyid(a.owner::pg_catalog.oid) operator(pg_catalog.=) current_user as own
from pg_catalog.unnest(%(words)s::pg_catalog.text[]) as w (word)
join tidemill.actions a on a.id::pg_catalog.text operator(pg_catalog.=) w.word or a.name operator(pg_catalog.=) w.word
  or a.task operator(pg_catalog.=) w.word or a.routine operator(pg_catalog.=) w.word
  or pg_catalog.split_part(a.routine, '.', 2) operator(pg_catalog.=) w.word
order by a.id
