-- Running jobs of a worker that somebody has cancelled, with the reason.
select j.id, coalesce(j.last_error, 'Cancelled')
from tidemill._jobs j
where j.locked_by operator(pg_catalog.=) %(worker_id)s::pg_catalog.text
  and j.withdrawn operator(pg_catalog.=) 'cancelled'::pg_catalog.text
