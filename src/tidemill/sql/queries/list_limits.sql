select name, task, concurrency, rate, period::pg_catalog.text as period, burst, per, in_use, waiting, tasks, changed_at
from tidemill.limits
order by name, task nulls first
