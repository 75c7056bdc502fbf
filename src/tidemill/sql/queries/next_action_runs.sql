-- Times cut to the years that Python knows, and as the clocks of the action's time zone show them.
select least(greatest(n.start, '0001-01-02Z'), '9999-12-30Z') as start,
  pg_catalog.to_char(n.start at time zone coalesce(a.timezone, 'UTC'), 'Dy YYYY-MM-DD HH24:MI:SS')
    operator(pg_catalog.||) ' ' operator(pg_catalog.||) coalesce(a.timezone, 'UTC') as clock
from tidemill.actions a, lateral tidemill.next_runs(a.id, %(count)s) as n (start)
where a.id operator(pg_catalog.=) %(id)s and pg_catalog.isfinite(n.start)
order by n.start
