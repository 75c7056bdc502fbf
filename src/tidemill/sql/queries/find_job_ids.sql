select id
from tidemill.jobs
where (%(state)s::text is null or state = %(state)s)
  and (%(task)s::text is null or identifier = %(task)s)
  and (%(queue)s::text is null or queue_name = %(queue)s)
order by id
