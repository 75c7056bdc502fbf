-- The run by hand that this session has just ended.
select h.id, h.action_id, h.outcome, h.started_at, h.finished_at, h.job_id,
  extract(epoch from h.finished_at - h.started_at)::float8 as seconds
from tidemill.action_history h
where h.action_id = %(id)s and h.by_hand and h.pid = pg_backend_pid()
order by h.id desc
limit 1
