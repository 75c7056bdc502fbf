-- Times are cut to the years that Python knows. Payloads may be large, so they are read only on request.
select id, state, identifier, queue_name, case when %(payloads)s::boolean then payload::pg_catalog.text end as payload,
  priority, least(greatest(run_at, '0001-01-02Z'), '9999-12-30Z') as run_at, attempts, max_attempts, last_error,
  created_at, updated_at, key, locked_at, locked_by, revision, flags, has_worker, retrying, progress, progress_message,
  paused_at
from tidemill.jobs
where (%(id)s::bigint is null or id operator(pg_catalog.=) %(id)s)
  and (%(key)s::pg_catalog.text is null or key operator(pg_catalog.=) %(key)s)
  and tidemill._job_passes(
    state, identifier, queue_name, retrying, last_error, updated_at,
    of_state => %(state)s, of_task => %(task)s, of_queue => %(queue)s, is_retrying => %(retrying)s,
    with_error => %(error)s,
    since => coalesce(%(since)s::pg_catalog.timestamptz, pg_catalog.now() operator(pg_catalog.-) %(within)s::interval),
    before => coalesce(
      %(until)s::pg_catalog.timestamptz, pg_catalog.now() operator(pg_catalog.-) %(until_within)s::interval))
order by id desc
limit %(limit)s
