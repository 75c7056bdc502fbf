-- Idle workers that no producer would notify.
select 'note' as severity,
  format('The worker %s is idle and is not told of new jobs: it finds them when it polls, every second by default.', w.id)
    as finding,
  'Right for one that was started with --no-listen. Else its log says why; through a pooler in transaction mode '
    'notifications do not arrive' as remedy
from tidemill._workers w
where w.lost_at is null and w.expires_at > clock_timestamp() and not w.stopping
  and w.in_hand = 0 and w.started_at < clock_timestamp() - interval '30 seconds'
  and not exists (select from tidemill._listeners l where l.worker_id = w.id)
  -- A busy one asks for no notifications.
  and not exists (
    select from tidemill._jobs j
    where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts and j.run_at <= now())
order by w.id
limit 20
