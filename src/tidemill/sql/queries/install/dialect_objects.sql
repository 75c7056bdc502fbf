-- Objects under the names of a dialect's schemas, and of its routines in public. Their comment says whether we
-- made them; and their owner, since everybody may write such a comment on an object of their own.
-- obstacle: taken by an object that is not ours, another role's, or forbidden to this role.
with standing as (
  select
    'schema' as kind,
    given.name,
    n.oid,
    n.nspowner as owner,
    starts_with(obj_description(n.oid, 'pg_namespace'), 'Laid by Tidemill') is true as ours,
    exists (
      select from pg_depend d
      where d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid) as in_use,
    has_database_privilege(current_database(), 'create') as may_create,
    'pg_namespace'::regclass as class
  from unnest(%(schemas)s::text[]) given (name)
  left join pg_namespace n on n.nspname = given.name
  union all
  select
    'function',
    'public.' || given.signature,
    p.oid,
    p.proowner,
    starts_with(obj_description(p.oid, 'pg_proc'), 'Laid by Tidemill') is true,
    p.oid is not null,
    has_schema_privilege(to_regnamespace('public'), 'create') is true,
    'pg_proc'
  from unnest(%(routines)s::text[]) given (signature)
  left join pg_proc p
    -- Without this right to_regprocedure raises an error.
    on has_schema_privilege(to_regnamespace('public'), 'usage')
    and p.oid = case
      when has_schema_privilege(to_regnamespace('public'), 'usage')
        then to_regprocedure('public.' || given.signature)
    end
)
select
  s.kind,
  s.name,
  s.oid is not null as found,
  s.ours,
  case
    when s.in_use and not s.ours then 'taken'
    when s.oid is null and not s.may_create then 'forbidden'
    when s.owner <> current_user::regrole then 'foreign'
  end as obstacle,
  (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
   where d.classid = s.class and d.objid = s.oid and d.refclassid = 'pg_extension'::regclass
     and d.deptype = 'e') as extension,
  current_user::text as role,
  pg_get_userbyid(s.owner)::text as owner
from standing s;
