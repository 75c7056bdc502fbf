select id
from tidemill.reschedule_jobs(
  %(ids)s::bigint[], coalesce(%(run_at)s::timestamptz, now() + %(run_in)s::interval),
  %(priority)s, %(attempts)s, %(max_attempts)s)
