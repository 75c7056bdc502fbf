-- The server notices soon that this client is gone. Only if no pooler stands between, as in own_session.sql.
select pg_catalog.set_config(s.name, s.value, false)
from pg_catalog.unnest(%(names)s::pg_catalog.text[], %(values)s::pg_catalog.text[]) as s(name, value)
where pg_catalog.pg_backend_pid() operator(pg_catalog.=) %(pid)s::integer
