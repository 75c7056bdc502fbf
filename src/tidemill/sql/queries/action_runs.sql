-- Times are cut to the years that Python knows.
select h.id, h.action_id, coalesce(h.name, h.routine, h.task) || ' [' || h.action_id || ']' as action,
  coalesce(h.outcome, 'running') as outcome, h.by_hand,
  case when isfinite(h.slot) then least(greatest(h.slot, '0001-01-02Z'), '9999-12-30Z') end as slot,
  h.started_at, h.finished_at,
  case when h.outcome <> 'skipped' then extract(epoch from h.finished_at - h.started_at)::float8 end as seconds,
  h.job_id, h.sqlstate, h.message, h.detail, h.hint, h.context, h.output, h.config::text as config,
  h.owner::text as owner, h.worker_id, h.pid
from tidemill.action_history h
where (%(ids)s::integer[] is null or h.action_id = any(%(ids)s))
  and (%(outcome)s::text is null or coalesce(h.outcome, 'running') = %(outcome)s)
  and (%(failed)s::boolean is null or not h.succeeded)
  and (%(since)s::timestamptz is null or h.started_at >= %(since)s)
  and (%(within)s::interval is null or h.started_at >= clock_timestamp() - %(within)s::interval)
order by h.started_at desc, h.id desc
limit %(limit)s
