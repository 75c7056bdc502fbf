-- What may be large or secret is read of one job alone.
select h.id, h.identifier, h.outcome, least(greatest(h.finished_at, '0001-01-02Z'), '9999-12-30Z') as finished_at,
  h.started_at, extract(epoch from h.duration)::double precision as seconds, h.attempt, h.max_attempts, h.queue_name, h.key,
  h.priority, h.created_at, least(greatest(h.run_at, '0001-01-02Z'), '9999-12-30Z') as run_at,
  case when %(whole)s::boolean then h.payload::pg_catalog.text end as payload,
  case when %(whole)s::boolean then h.result::pg_catalog.text end as result,
  case when %(whole)s::boolean then h.traceback end as traceback,
  h.error, h.error_type, h.error_frame, h.error_fingerprint, h.worker_id, h.worker_version, h.keep, h.progress,
  h.progress_message
from tidemill.job_history h
where (%(id)s::bigint is null or h.id operator(pg_catalog.=) %(id)s)
  and (%(task)s::pg_catalog.text is null or h.identifier operator(pg_catalog.=) %(task)s)
  and (%(outcome)s::pg_catalog.text is null or h.outcome operator(pg_catalog.=) %(outcome)s)
  and (%(error)s::pg_catalog.text is null
    or pg_catalog.strpos(pg_catalog.lower(h.error), pg_catalog.lower(%(error)s)) operator(pg_catalog.>) 0)
  and (%(since)s::pg_catalog.timestamptz is null or h.finished_at operator(pg_catalog.>=) %(since)s)
  and (%(within)s::interval is null
    or h.finished_at operator(pg_catalog.>=) (pg_catalog.now() operator(pg_catalog.-) %(within)s::interval))
  and (%(until)s::pg_catalog.timestamptz is null or h.finished_at operator(pg_catalog.<) %(until)s)
  and (%(until_within)s::interval is null
    or h.finished_at operator(pg_catalog.<) (pg_catalog.now() operator(pg_catalog.-) %(until_within)s::interval))
order by h.finished_at desc, h.id desc
limit %(limit)s
