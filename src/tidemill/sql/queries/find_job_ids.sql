select id
from tidemill.jobs
where (%(state)s::pg_catalog.text is null or state operator(pg_catalog.=) %(state)s)
  and (%(task)s::pg_catalog.text is null or identifier operator(pg_catalog.=) %(task)s)
  and (%(queue)s::pg_catalog.text is null or queue_name operator(pg_catalog.=) %(queue)s)
order by id
