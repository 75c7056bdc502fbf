-- The server notices soon that this client is gone. Only if no pooler stands between, as in own_session.sql.
select pg_catalog.set_config(s.key, s.value, false)
from pg_catalog.json_each_text(%(settings)s::pg_catalog.json) s
where pg_catalog.pg_backend_pid() operator(pg_catalog.=) %(pid)s::integer
