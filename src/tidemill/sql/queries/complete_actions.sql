select distinct n.name
from tidemill.actions a
cross join lateral (values (coalesce(a.name, a.routine, a.task))) as n (name)
where pg_catalog.starts_with(n.name, %(start)s)
order by n.name
limit 100
