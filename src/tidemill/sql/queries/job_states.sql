select id, state
from tidemill.jobs
where id operator(pg_catalog.=) any(%(ids)s::bigint[])
