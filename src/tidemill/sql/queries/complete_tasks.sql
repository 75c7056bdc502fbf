-- With a limit: there may be millions of jobs.
select n.name
from (
  select j.identifier as name from (select identifier from tidemill.jobs limit 5000) j
  union
  select t.identifier from tidemill.workers w cross join lateral pg_catalog.unnest(w.tasks) as t (identifier)
) n
where pg_catalog.starts_with(n.name, %(start)s)
order by n.name
limit 100
