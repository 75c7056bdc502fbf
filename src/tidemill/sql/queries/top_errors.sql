-- The errors of a few jobs, their beginnings.
select j.identifier as task, pg_catalog.left(j.last_error, 500) as error
from tidemill.jobs j
where j.id operator(pg_catalog.=) any(%(ids)s::bigint[]) and j.last_error is not null
