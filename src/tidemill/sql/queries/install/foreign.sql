-- What stands in these schemas, or fires on it, and belongs to another role: each with its owner, whether this role
-- may trust that one, and a statement that gives it to this role or takes it away. The schemas come first.
-- PostgreSQL notes every owner in pg_shdepend, save that of the first superuser.
with us as (
  select r.oid, r.rolname, r.rolsuper from pg_roles r where r.rolname = current_user
),
schemas as (
  select n.* from pg_namespace n where n.nspname = any(%(schemas)s::text[])
),
inside as (
  select d.classid, d.objid
  from schemas n
  join pg_depend d on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid and d.deptype in ('n', 'a')
  where d.classid not in ('pg_default_acl'::regclass, 'pg_publication_namespace'::regclass)
    -- A part goes with its whole: the sequence of an identity column, what a range type makes.
    and not exists (
      select from pg_depend p where p.classid = d.classid and p.objid = d.objid and p.deptype = 'i')
),
owned as (
  select 1 as rank, 'pg_namespace'::regclass::oid as classid, n.oid as objid, n.nspowner as owner, null as remedy
  from schemas n
  union all
  select 2, i.classid, i.objid, coalesce(s.refobjid, 10), 
    format('alter %%s %%s owner to %%I;', case o.type when 'statistics object' then 'statistics' else o.type end, o.identity, us.rolname)
  from us
  cross join inside i
  cross join lateral pg_identify_object(i.classid, i.objid, 0) o
  left join pg_shdepend s
    on s.dbid = (select d.oid from pg_database d where d.datname = current_database())
    and s.classid = i.classid and s.objid = i.objid and s.objsubid = 0 and s.deptype = 'o'
  union all
  -- A trigger calls its function with the rights of whoever writes to the table.
  select 3, 'pg_trigger'::regclass, t.oid, p.proowner, format('drop trigger %%I on %%s;', t.tgname, t.tgrelid::regclass)
  from inside i
  join pg_trigger t on i.classid = 'pg_class'::regclass and t.tgrelid = i.objid and not t.tgisinternal
  join pg_proc p on p.oid = t.tgfoid
  union all
  select 3, 'pg_event_trigger'::regclass, e.oid, e.evtowner, 'drop event trigger tidemill_routines;'
  from pg_event_trigger e
  where e.evtname = 'tidemill_routines' and 'tidemill' = any(%(schemas)s::text[])
  union all
  -- A role that may create here can add an overload that fits our calls better than our own function does.
  select 4, 'pg_namespace'::regclass, n.oid, g.grantee,
    format('revoke create on schema %%I from %%s;', n.nspname, case g.grantee when 0 then 'public' else g.grantee::regrole::text end)
  from schemas n
  cross join lateral aclexplode(n.nspacl) g
  where g.privilege_type = 'CREATE' and g.grantee <> n.nspowner
)
select
  o.rank = 4 as may_create,
  pg_describe_object(o.classid, o.objid, 0) as what,
  coalesce(r.rolname, 'public') as owner,
  coalesce(
    r.rolsuper
    or not us.rolsuper and (
      pg_has_role(r.oid, 'member')
      or r.oid = (select d.datdba from pg_database d where d.datname = current_database())),
    false) as trusted,
  coalesce(
    o.remedy,
    case when exists (select from inside) then format('drop schema %%I cascade;', i.name)
    else format('alter schema %%I owner to %%I;', i.name, us.rolname) end) as remedy,
  us.rolname as role
from owned o
cross join us
cross join lateral pg_identify_object(o.classid, o.objid, 0) i
left join pg_roles r on r.oid = o.owner
where o.owner <> us.oid
  -- Superusers may do all of it anyway.
  and not (o.rank >= 3 and r.rolsuper is true)
order by o.rank, 3;
