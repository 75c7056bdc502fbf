-- What the installer's default privileges gave away of objects that were just made, as statements that take it back.
-- before: the objects that were there already, with what their owner has granted since.
select distinct format(
  'revoke all on %%s from %%s;',
  case o.classid
    when 'pg_namespace'::regclass then 'schema ' || o.identity
    when 'pg_proc'::regclass then 'routine ' || o.objid::regprocedure
    when 'pg_type'::regclass then 'type ' || o.identity
    when 'pg_class'::regclass then case c.relkind when 'S' then 'sequence ' else 'table ' end || o.identity
  end,
  case g.grantee when 0 then 'public' else g.grantee::regrole::text end)
from (
  select d.classid, d.objid, i.identity
  from pg_namespace n
  join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid and d.deptype = 'n'
  cross join lateral pg_identify_object(d.classid, d.objid, 0) i
  where n.nspname = any(%(schemas)s::text[])
  union all
  select 'pg_namespace'::regclass, n.oid, quote_ident(n.nspname) from pg_namespace n
  where n.nspname = any(%(schemas)s::text[])
) o
left join pg_class c on o.classid = 'pg_class'::regclass and c.oid = o.objid
cross join lateral aclexplode(
  case o.classid
    when 'pg_namespace'::regclass then (select n.nspacl from pg_namespace n where n.oid = o.objid)
    when 'pg_proc'::regclass then (select p.proacl from pg_proc p where p.oid = o.objid)
    when 'pg_type'::regclass then (select t.typacl from pg_type t where t.oid = o.objid)
    when 'pg_class'::regclass then c.relacl
  end) g
where g.grantee <> g.grantor and not o.objid = any(%(before)s::oid[])
order by 1;
