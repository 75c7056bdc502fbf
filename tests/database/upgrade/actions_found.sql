-- Where the actions stand. slot: the slot of its grid that a run was for last; next_slot: the one to come.
select
  a.name,
  a.scheduled,
  a.paused_because,
  a.next_start,
  s.run_id,
  s.last_finish,
  s.total_runs,
  s.total_successes,
  s.total_failures,
  s.consecutive_failures,
  s.consecutive_crashes,
  extract(epoch from a.next_start - a.initial_start) / 3600 as next_slot,
  (select max(extract(epoch from h.slot - a.initial_start) / 3600)
   from tidemill.action_history h where h.action_id = a.id) as slot,
  a.next_start = s.last_finish + interval '1 hour' as has_drifted,
  case when a.schedule_interval is null then
    a.next_start = tidemill._next_cron(tidemill._read_cron(a.schedule), a.timezone, s.last_finish) end as is_by_cron,
  array(select h.outcome from tidemill.action_history h where h.action_id = a.id order by h.id) as outcomes,
  array(select c.config from seen c where c.action_id = a.id) as configs
from tidemill.actions a
join tidemill.action_stats s on s.action_id = a.id
where a.id >= 1000;
