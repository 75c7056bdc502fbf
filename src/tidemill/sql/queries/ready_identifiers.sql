-- With a limit: there may be millions of jobs.
select identifier, pg_catalog.bool_or(paused_at is not null)
from (select identifier, paused_at from tidemill.jobs where state operator(pg_catalog.=) 'ready' limit 1000) some_jobs
group by identifier
order by identifier
