select id
from tidemill.reschedule_jobs(
  %(ids)s::bigint[],
  coalesce(%(run_at)s::pg_catalog.timestamptz, pg_catalog.now() operator(pg_catalog.+) %(run_in)s::interval),
  %(priority)s, %(attempts)s, %(max_attempts)s)
