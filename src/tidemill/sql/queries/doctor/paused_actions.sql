-- Actions that do not start.
select case when a.paused_because is null then 'note' else 'error' end as severity,
  format('The action %s (%s) is paused%s.', a.id, coalesce(a.name, a.task, a.routine),
    coalesce(', by Tidemill: ' || left(rtrim(a.paused_because, '.'), 200), '')) as finding,
  case when a.paused_because is null then format('If it should run: tidemill actions resume %s', a.id)
    else format('Mend what it says, see tidemill actions show %s; then: tidemill actions resume %s', a.id, a.id) end as remedy
from tidemill.actions a
where not a.scheduled
order by a.paused_because is null, a.id
limit 20
