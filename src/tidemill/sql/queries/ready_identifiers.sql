-- Bounded: there may be millions.
select distinct identifier
from (select identifier from tidemill.jobs where state = 'ready' limit 1000) some_jobs
order by identifier
