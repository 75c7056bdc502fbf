-- With a limit: there may be millions of jobs.
select distinct identifier
from (select identifier from tidemill.jobs where state operator(pg_catalog.=) 'ready' limit 1000) some_jobs
order by identifier
