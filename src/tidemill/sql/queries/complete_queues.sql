-- With a limit: there may be millions of jobs.
select distinct j.queue_name
from (select queue_name from tidemill.jobs where queue_name is not null limit 5000) j
where pg_catalog.starts_with(j.queue_name, %(start)s)
order by j.queue_name
limit 100
