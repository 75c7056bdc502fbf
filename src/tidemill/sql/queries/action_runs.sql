-- Times are cut to the years that Python knows.
select h.id, h.action_id,
  pg_catalog.concat(coalesce(h.name, h.routine, h.task), ' [', h.action_id, ']') as action,
  coalesce(h.outcome, 'running') as outcome, h.by_hand,
  case when pg_catalog.isfinite(h.slot) then least(greatest(h.slot, '0001-01-02Z'), '9999-12-30Z') end as slot,
  h.started_at, h.finished_at,
  case when h.outcome operator(pg_catalog.<>) 'skipped'
    then extract(epoch from h.finished_at operator(pg_catalog.-) h.started_at)::double precision end as seconds,
  h.job_id, h.sqlstate, h.message, h.detail, h.hint, h.context, h.output, h.config::pg_catalog.text as config,
  h.owner::pg_catalog.text as owner, h.worker_id, h.pid
from tidemill.action_history h
where (%(ids)s::integer[] is null or h.action_id operator(pg_catalog.=) any(%(ids)s))
  and (%(outcome)s::pg_catalog.text is null or coalesce(h.outcome, 'running') operator(pg_catalog.=) %(outcome)s)
  and (%(failed)s::boolean is null or not h.succeeded)
  and (%(since)s::pg_catalog.timestamptz is null or h.started_at operator(pg_catalog.>=) %(since)s)
  and (%(within)s::interval is null
    or h.started_at operator(pg_catalog.>=) (pg_catalog.clock_timestamp() operator(pg_catalog.-) %(within)s::interval))
order by h.started_at desc, h.id desc
limit %(limit)s
