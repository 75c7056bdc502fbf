-- Gives an action the options of its task; true if that changed them. Options that the task leaves open stay.
select true
from tidemill.actions a
cross join lateral tidemill.alter_action(
  a.id, job_options => coalesce(a.job_options, '{}') operator(pg_catalog.||) %(options)s::pg_catalog.jsonb) changed
where a.id operator(pg_catalog.=) %(action_id)s::integer
  and not coalesce(a.job_options, '{}') operator(pg_catalog.@>) %(options)s::pg_catalog.jsonb
