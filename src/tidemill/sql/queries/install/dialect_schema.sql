-- What stands at a dialect's schema; the comment on it tells that we made it.
select
  n.oid is not null as found,
  coalesce(starts_with(obj_description(n.oid, 'pg_namespace'), 'Laid by Tidemill'), false) as ours,
  exists (
    select from pg_depend d
    where d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid) as in_use
from (values (%(name)s::text)) given (name)
left join pg_namespace n on n.nspname = given.name;
