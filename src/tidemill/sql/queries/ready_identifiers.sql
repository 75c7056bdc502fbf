-- With a limit: there may be millions of jobs.
select distinct identifier
from (select identifier from tidemill.jobs where state = 'ready' limit 1000) some_jobs
order by identifier
