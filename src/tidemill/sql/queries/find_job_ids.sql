select id
from tidemill.jobs
where (%(state)s::pg_catalog.text is null or state operator(pg_catalog.=) %(state)s)
  and (%(task)s::pg_catalog.text is null or identifier operator(pg_catalog.=) %(task)s)
  and (%(queue)s::pg_catalog.text is null or queue_name operator(pg_catalog.=) %(queue)s)
  and (not %(retrying)s or retrying)
  and (%(error)s::pg_catalog.text is null
    or pg_catalog.strpos(pg_catalog.lower(last_error), pg_catalog.lower(%(error)s)) operator(pg_catalog.>) 0)
  and (%(since)s::pg_catalog.timestamptz is null or updated_at operator(pg_catalog.>=) %(since)s)
  and (%(within)s::interval is null
    or updated_at operator(pg_catalog.>=) (pg_catalog.now() operator(pg_catalog.-) %(within)s::interval))
  and (%(until)s::pg_catalog.timestamptz is null or updated_at operator(pg_catalog.<) %(until)s)
  and (%(until_within)s::interval is null
    or updated_at operator(pg_catalog.<) (pg_catalog.now() operator(pg_catalog.-) %(until_within)s::interval))
order by id
