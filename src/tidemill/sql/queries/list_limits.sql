select
  name, task, concurrency, rate, period::pg_catalog.text as period, burst, per, in_use, waiting, tasks, changed_at,
  extract(epoch from period)::double precision as period_seconds
from tidemill.limits
order by name, task nulls first
