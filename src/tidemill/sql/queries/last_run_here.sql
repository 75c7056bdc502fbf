-- The run by hand that this session has just ended.
select h.id, h.action_id, h.outcome, h.started_at, h.finished_at, h.job_id,
  extract(epoch from h.finished_at operator(pg_catalog.-) h.started_at)::double precision as seconds
from tidemill.action_history h
where h.action_id operator(pg_catalog.=) %(id)s and h.by_hand
  and h.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()
order by h.id desc
limit 1
