-- What a table has beside its columns, as statements that give it to a new table of its name. Read under this search
-- path, all names in them have their schemas.

create or replace function tidemill._table_parts(relation regclass, out stage text, out statement text) returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Before it is moved away
  select 'early', format('alter table %s no force row level security', relation)
    from pg_class r where r.oid = relation and r.relforcerowsecurity
  union all
  select 'early', format('alter sequence %s owned by none', s.sequence) from tidemill._serial_sequences(relation) s
  union all
  select 'early', format('drop statistics %s', tidemill._statistics_name(s.oid)) from pg_statistic_ext s where s.stxrelid = relation
  union all
  -- Before rows come
  select 'middle', p.statement from tidemill._structure(relation) p
  union all
  -- When all are there
  select 'late', format('alter sequence %s owned by %s.%I', s.sequence, relation, s.attname)
    from tidemill._serial_sequences(relation) s
  union all
  select 'late', p.statement from tidemill._triggers_and_policies(relation) p
  union all
  select 'late', p.statement from tidemill._grants(relation) p
$$;
comment on function tidemill._table_parts is
  'Statements for before a table is moved away (early), after the new one is made (middle), and after it has its rows (late).';

create or replace function tidemill._serial_sequences(relation regclass, out sequence regclass, out attname name)
returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select d.objid::regclass, a.attname
  from pg_depend d
  join pg_class s on s.oid = d.objid and s.relkind = 'S'
  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = relation and d.deptype = 'a'
$$;
comment on function tidemill._serial_sequences is 'Sequences that are owned by a column, but are not its identity.';

create or replace function tidemill._statistics_name(id oid) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('%I.%I', n.nspname, s.stxname)
  from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where s.oid = id
$$;

create or replace function tidemill._structure(relation regclass, out statement text) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select s.statement from (
    select 0 as place, null::oid as id, format('alter table %s owner to %s', relation, r.relowner::regrole) as statement
      from pg_class r where r.oid = relation and r.relowner <> current_user::regrole
    union all
    select 1, c.oid, format('alter table %s add constraint %I %s', relation, c.conname, pg_get_constraintdef(c.oid))
      from pg_constraint c where c.conrelid = relation and c.contype in ('p', 'u', 'x')
    union all
    select 2, i.indexrelid, pg_get_indexdef(i.indexrelid)
      from pg_index i where i.indrelid = relation and i.indisvalid
        and not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x'))
    union all
    -- No rows are there yet that would have to be passed over.
    select 3, c.oid, format('alter table %s add constraint %I %s', relation, c.conname,
        regexp_replace(pg_get_constraintdef(c.oid), ' NOT VALID$', ''))
      from pg_constraint c where c.conrelid = relation and c.contype = 'f'
    union all
    select 4, s.oid, pg_get_statisticsobjdef(s.oid) from pg_statistic_ext s where s.stxrelid = relation
    union all
    select 5, a.attnum::oid, format('alter table %s alter column %I set statistics %s', relation, a.attname, a.attstattarget)
      from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
    union all
    select 6, a.attnum::oid, format('alter table %s alter column %I set (%s)', relation, a.attname, array_to_string(a.attoptions, ', '))
      from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attoptions is not null
    union all
    select 7, null, format('comment on table %s is %L', relation, obj_description(relation, 'pg_class'))
      where obj_description(relation, 'pg_class') is not null
    union all
    select 8, c.oid, format('comment on constraint %I on %s is %L', c.conname, relation, obj_description(c.oid, 'pg_constraint'))
      from pg_constraint c where c.conrelid = relation and obj_description(c.oid, 'pg_constraint') is not null
    union all
    select 9, i.indexrelid, format('comment on index %s is %L', i.indexrelid::regclass, obj_description(i.indexrelid, 'pg_class'))
      from pg_index i where i.indrelid = relation and i.indisvalid and obj_description(i.indexrelid, 'pg_class') is not null
    union all
    select 10, s.oid, format('comment on statistics %s is %L', tidemill._statistics_name(s.oid), obj_description(s.oid, 'pg_statistic_ext'))
      from pg_statistic_ext s where s.stxrelid = relation and obj_description(s.oid, 'pg_statistic_ext') is not null
  ) s
  order by s.place, s.id
$$;
comment on function tidemill._structure is 'Owner, constraints, indexes, statistics and comments. LIKE copies CHECK constraints and the comments on columns.';

create or replace function tidemill._triggers_and_policies(relation regclass, out statement text) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select s.statement from (
    select 1 as place, t.oid as id, pg_get_triggerdef(t.oid) as statement
      from pg_trigger t where t.tgrelid = relation and not t.tgisinternal
    union all
    select 2, t.oid, format('alter table %s %s trigger %I', relation,
        case t.tgenabled when 'D' then 'disable' when 'R' then 'enable replica' else 'enable always' end, t.tgname)
      from pg_trigger t where t.tgrelid = relation and not t.tgisinternal and t.tgenabled <> 'O'
    union all
    select 3, t.oid, format('comment on trigger %I on %s is %L', t.tgname, relation, obj_description(t.oid, 'pg_trigger'))
      from pg_trigger t
      where t.tgrelid = relation and not t.tgisinternal and obj_description(t.oid, 'pg_trigger') is not null
    union all
    select 4, p.oid, concat(
        format('create policy %I on %s as %s for %s to %s', p.polname, relation,
          case when p.polpermissive then 'permissive' else 'restrictive' end,
          case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
          (select string_agg(case when u = 0 then 'public' else u::regrole::text end, ', ') from unnest(p.polroles) u)),
        ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
        ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
      from pg_policy p where p.polrelid = relation
    union all
    select 5, p.oid, format('comment on policy %I on %s is %L', p.polname, relation, obj_description(p.oid, 'pg_policy'))
      from pg_policy p where p.polrelid = relation and obj_description(p.oid, 'pg_policy') is not null
    union all
    select 6, null, format('alter table %s enable row level security', relation)
      from pg_class r where r.oid = relation and r.relrowsecurity
    union all
    select 7, null, format('alter table %s force row level security', relation)
      from pg_class r where r.oid = relation and r.relforcerowsecurity
  ) s
  order by s.place, s.id
$$;
comment on function tidemill._triggers_and_policies is 'Triggers with their states, and row level security.';

create or replace function tidemill._grants(relation regclass, out statement text) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with objects as (
    -- Default privileges may have given the new ones more: so all that is there is taken away first.
    select r.oid::regclass as id, case r.relkind when 'S' then 'sequence' else 'table' end as kind, r.relowner as owner,
        coalesce(r.relacl, acldefault(case r.relkind when 'S' then 's' else 'r' end::"char", r.relowner)) as acl
      from pg_class r
      where r.oid = relation
        or r.oid in (select pg_get_serial_sequence(relation::text, a.attname)::regclass from pg_attribute a
                     where a.attrelid = relation and a.attidentity <> '' and not a.attisdropped)
  )
  select s.statement from (
    select o.kind, o.id, 1 as place, format('select tidemill._revoke_all(%L)', o.id) as statement from objects o
    union all
    select o.kind, o.id, 2, format('grant %s on %s %s to %s%s', g.privilege_type, o.kind, o.id,
        case when g.grantee = 0 then 'public' else g.grantee::regrole::text end,
        case when g.is_grantable and g.grantee <> o.owner then ' with grant option' else '' end)
      from objects o, aclexplode(o.acl) g
    union all
    select o.kind, o.id, 3, format('grant %s (%I) on table %s to %s%s', g.privilege_type, a.attname, o.id,
        case when g.grantee = 0 then 'public' else g.grantee::regrole::text end,
        case when g.is_grantable then ' with grant option' else '' end)
      from objects o join pg_attribute a on a.attrelid = o.id and not a.attisdropped, aclexplode(a.attacl) g
      where o.kind = 'table'
  ) s
  order by s.kind, s.id, s.place
$$;
comment on function tidemill._grants is 'Grants on a table, its columns and its identity sequences; all by its owner.';

create or replace function tidemill._revoke_all(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  holder record;
begin
  for holder in
    select distinct case r.relkind when 'S' then 'sequence' else 'table' end as kind, g.grantee
      from pg_class r, aclexplode(coalesce(r.relacl, acldefault(case r.relkind when 'S' then 's' else 'r' end::"char", r.relowner))) g
      where r.oid = relation
  loop
    execute format('revoke all on %s %s from %s', holder.kind, relation,
      case when holder.grantee = 0 then 'public' else holder.grantee::regrole::text end);
  end loop;
end
$$;
comment on function tidemill._revoke_all is 'Takes away all grants on a table or sequence, its owner''s too.';
