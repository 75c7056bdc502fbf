-- An action that was deleted meanwhile is named by its id.
select i.id, coalesce(a.name, a.routine, a.task, '') as name
from pg_catalog.unnest(%(ids)s::integer[]) with ordinality as i (id, place)
left join tidemill.actions a on a.id operator(pg_catalog.=) i.id
order by i.place
