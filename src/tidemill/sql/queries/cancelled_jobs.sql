-- Running jobs of a worker that somebody has cancelled.
select j.id
from tidemill._jobs j
where j.locked_by = %(worker_id)s::text and j.withdrawn = 'cancelled'::text
