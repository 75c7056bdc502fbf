select a.id
from tidemill.actions a
where pg_catalog.starts_with(a.routine, 'tidemill.policy_')
  and (a.config operator(pg_catalog.->>) 'hypertable_id') operator(pg_catalog.=) %(id)s::integer::pg_catalog.text
order by a.id
