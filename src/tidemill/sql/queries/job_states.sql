select id, state
from tidemill.jobs
where id = any(%(ids)s::bigint[])
