-- Actions that have failed more than once since they last succeeded.
select case when s.consecutive_failures + s.consecutive_crashes >= 5 then 'error' else 'warning' end as severity,
  format('The action %s (%s) has failed %s times in a row%s.', a.id, coalesce(a.name, a.task, a.proc_schema || '.' || a.proc_name),
    s.consecutive_failures + s.consecutive_crashes,
    ', last with: ' || left(split_part(e.message, E'\n', 1), 200)) as finding,
  format('See its errors: tidemill actions errors %s. To stop it: tidemill actions pause %s', a.id, a.id) as remedy
from tidemill._actions a
join tidemill._action_states s on s.action_id = a.id
left join lateral (
  select r.message from tidemill._action_runs r
  where r.action_id = a.id and r.outcome is not null and r.outcome <> 'success' and r.outcome <> 'skipped'
  order by r.id desc limit 1) e on true
where s.consecutive_failures + s.consecutive_crashes >= 2
order by s.consecutive_failures desc, a.id
limit 20
