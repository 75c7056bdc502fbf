-- History of actions that is older than its retention.
select 'warning' as severity,
  format('The history of actions goes back to %s, and is to be kept for %s%s.', date_trunc('second', o.started_at),
    coalesce(a.config ->> 'drop_after', '1 month'),
    case when a.id is null then '; the action that prunes it was deleted' when not a.scheduled then '; the action 3, which prunes it, is paused'
      else '' end) as finding,
  case when a.id is null
    then 'select tidemill.add_action(''tidemill.prune_action_history'', ''6 hours'', config => ''{"drop_after": "1 month", '
      '"max_successes_per_job": 1000, "max_failures_per_job": 1000}'')'
    when not a.scheduled then 'tidemill actions resume 3'
    else format('See why: tidemill actions show %s', a.id) end as remedy
from (
  select r.started_at from tidemill._action_runs r where r.outcome is not null order by r.started_at limit 1
) o
left join lateral (
  select p.id, p.scheduled, p.config from tidemill._actions p
  where p.proc_schema = 'tidemill' and p.proc_name = 'prune_action_history'
  order by p.scheduled desc, p.id limit 1) a on true
where o.started_at < now() - coalesce((a.config ->> 'drop_after')::interval, '1 month') - interval '1 day'
