-- Actions whose routine or check is not there any more.
select 'error' as severity,
  format('The routine %I.%I of the action %s (%s) is gone.', a.proc_schema, a.proc_name, a.id, coalesce(a.name, 'without a name'))
    as finding,
  format('Create it again with the parameters (integer, jsonb), or: tidemill actions delete %s', a.id) as remedy
from tidemill._actions a
where a.task is null and tidemill._found_routine(a) is null
union all
select 'warning',
  format('The function %I.%I, which checks the config of the action %s (%s), is gone.', a.check_schema, a.check_name, a.id,
    coalesce(a.name, 'without a name')),
  format('Create it again with the parameter (jsonb), or name another: tidemill actions alter %s --check FUNCTION', a.id)
from tidemill._actions a
where a.check_name is not null and tidemill._found_check(a) is null
