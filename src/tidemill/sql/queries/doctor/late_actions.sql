-- Actions whose start is long due, although workers are running.
select 'error' as severity,
  format('The action %s (%s) should have started %s.', a.id, coalesce(a.name, a.task, a.proc_schema || '.' || a.proc_name),
    case when isfinite(s.next_start) then 'at ' || date_trunc('second', s.next_start) else 'at once' end) as finding,
  'Give workers more room, --action-concurrency, or see what takes so long: tidemill actions --state running. '
    'A worker with --action-concurrency 0 runs none' as remedy
from tidemill._actions a
join tidemill._action_states s on s.action_id = a.id
where a.scheduled and s.run_id is null
  and case when isfinite(s.next_start) then s.next_start else coalesce(s.last_finish, a.created_at) end
    < clock_timestamp() - interval '5 minutes'
  and s.next_start < 'infinity'
  -- Without a worker there is another finding.
  and exists (select from tidemill._workers w where w.lost_at is null and w.expires_at > clock_timestamp())
order by s.next_start
limit 20
