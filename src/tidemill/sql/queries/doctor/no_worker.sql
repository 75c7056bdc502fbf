-- No worker at all, although there is something to do.
select 'error' as severity,
  case when j.oldest is not null
    then format('Jobs are ready, one since %s, and no worker is running.', date_trunc('second', j.oldest))
    else 'Actions are due, and no worker is running.' end as finding,
  'Start one: tidemill worker' as remedy
from (
  select
    -- The most urgent one is found by the index of ready jobs; it need not be the oldest.
    coalesce(
      (select r.run_at from tidemill._jobs r
       where r.queue_id is null and r.gate_id is null and r.locked_at is null and r.attempts < r.max_attempts and r.run_at <= now()
       order by r.priority, r.run_at, r.id limit 1),
      (select q.run_at from tidemill._jobs q
       where q.queue_id is not null and q.locked_at is null and q.attempts < q.max_attempts and q.run_at <= now()
       limit 1)) as oldest
) j
where not exists (
    select from tidemill._workers w where w.lost_at is null and w.expires_at > clock_timestamp() and not w.stopping)
  and (j.oldest is not null
    or exists (select from tidemill._action_states s join tidemill._actions a on a.id = s.action_id
               where a.scheduled and s.run_id is null and s.next_start < now() - interval '1 minute'))
