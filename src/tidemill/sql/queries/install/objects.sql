-- All objects of these schemas, and the schemas.
select n.oid from pg_namespace n where n.nspname = any(%(schemas)s::text[])
union
select d.objid
from pg_namespace n
join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid
where n.nspname = any(%(schemas)s::text[]);
