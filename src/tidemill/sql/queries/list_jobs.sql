-- Times are cut to the years that Python knows. Payloads may be large, so they are read only on request.
select id, state, identifier, queue_name, case when %(payloads)s::boolean then payload::pg_catalog.text end as payload,
  priority, least(greatest(run_at, '0001-01-02Z'), '9999-12-30Z') as run_at, attempts, max_attempts, last_error,
  created_at, updated_at, key, locked_at, locked_by, revision, flags, has_worker, retrying, progress, progress_message,
  paused_at
from tidemill.jobs
where (%(id)s::bigint is null or id operator(pg_catalog.=) %(id)s)
  and (%(state)s::pg_catalog.text is null or state operator(pg_catalog.=) %(state)s)
  and (%(task)s::pg_catalog.text is null or identifier operator(pg_catalog.=) %(task)s)
  and (%(queue)s::pg_catalog.text is null or queue_name operator(pg_catalog.=) %(queue)s)
  and (not %(retrying)s or retrying)
  and (%(error)s::pg_catalog.text is null
    or pg_catalog.strpos(pg_catalog.lower(last_error), pg_catalog.lower(%(error)s)) operator(pg_catalog.>) 0)
  and (%(since)s::pg_catalog.timestamptz is null or updated_at operator(pg_catalog.>=) %(since)s)
  and (%(within)s::interval is null
    or updated_at operator(pg_catalog.>=) (pg_catalog.now() operator(pg_catalog.-) %(within)s::interval))
  and (%(until)s::pg_catalog.timestamptz is null or updated_at operator(pg_catalog.<) %(until)s)
  and (%(until_within)s::interval is null
    or updated_at operator(pg_catalog.<) (pg_catalog.now() operator(pg_catalog.-) %(until_within)s::interval))
  and (%(key)s::pg_catalog.text is null or key operator(pg_catalog.=) %(key)s)
order by id desc
limit %(limit)s
