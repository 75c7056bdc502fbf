-- What all functions of hypertables share: which one is meant, whose it is, and how times are counted.

create or replace function tidemill._hypertable(relation regclass) returns tidemill._hypertables
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables;
begin
  select i.* into h from tidemill._hypertables i where relation in (i.rows_table, i.view);
  if not found then
    perform tidemill._refuse_timescaledb(relation);
    raise exception using errcode = 'TS001',
      message = format('"%s" is not a hypertable', tidemill._bare_name(relation)),
      hint = 'Make it one with create_hypertable.';
  end if;
  return h;
end
$$;
comment on function tidemill._hypertable is 'The hypertable with this table or view. Error: TS001 there is none.';

create or replace function tidemill._qualified_name(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$ select format('%I.%I', n.nspname, r.relname) from pg_class r join pg_namespace n on n.oid = r.relnamespace where r.oid = relation $$;

create or replace function tidemill._check_owner(relation regclass) returns void
language plpgsql stable
as $$
declare
  owner pg_catalog.name;
  table_name pg_catalog.name;
begin
  select r.rolname, c.relname into owner, table_name
    from pg_catalog.pg_class c join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) c.relowner
    where c.oid operator(pg_catalog.=) relation;
  if owner operator(pg_catalog.=) current_user then
    return;
  end if;
  -- A superuser, too: what the owner hung on the table (defaults, triggers, indexes) would run with more than their rights.
  if not pg_catalog.pg_has_role(current_user, owner, 'usage')
    or exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) current_user and r.rolsuper)
  then
    raise exception using errcode = '42501',
      message = pg_catalog.format('must be owner of hypertable "%s"', table_name),
      hint = pg_catalog.format('Do it as its owner: SET ROLE %s', pg_catalog.quote_ident(owner));
  end if;
end
$$;
comment on function tidemill._check_owner is 'Raises 42501 unless the caller is the owner of a table, or a member of that role who is no superuser.';

create or replace function tidemill._expect_read_committed() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using errcode = '25001',
      message = format('chunks cannot be changed in a transaction that is %s', current_setting('transaction_isolation')),
      hint = 'Begin it with: begin isolation level read committed';
  end if;
end
$$;
comment on function tidemill._expect_read_committed is
  'Raises 25001 in a transaction that may not see what others committed before its locks.';

create or replace function tidemill._expect_own_schema(schema_name name, owner regrole) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  holder regrole;
begin
  select n.nspowner into holder from pg_namespace n
    where n.nspname = schema_name and n.nspowner <> owner
      and not exists (select from pg_roles r where r.oid = n.nspowner and r.rolsuper)
      and n.nspowner <> (select d.datdba from pg_database d where d.datname = current_database());
  if found then
    -- Who owns a schema may drop what stands there.
    raise exception using errcode = '42501', message = format('the schema "%s" belongs to %s', schema_name, holder),
      hint = format('Let an administrator run: ALTER SCHEMA %I OWNER TO %s', schema_name, owner);
  end if;
end
$$;
comment on function tidemill._expect_own_schema is
  'Raises 42501 if a schema belongs to anybody but the table''s owner, the database''s owner, or a superuser.';

-- Times are counted in whole numbers: microseconds since 1970, or the number that the time is.

create or replace function tidemill._time_units(time_type regtype, expression text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select format(case
    when time_type in ('timestamptz'::regtype, 'timestamp'::regtype)
      then '(pg_catalog.extract(''epoch'', %s) operator(pg_catalog.*) 1000000)::bigint'
    when time_type = 'date'::regtype
      then '(%s operator(pg_catalog.-) ''1970-01-01''::pg_catalog.date)::bigint operator(pg_catalog.*) 86400000000'
    else '(%s)::bigint' end, expression)
$$;
comment on function tidemill._time_units is 'SQL that counts a time, given as an expression of this type.';

create or replace function tidemill._time_text(time_type regtype, units bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD'
as $$
  -- Days and the rest apart: a product with an interval is exact up to 2^53 only.
  select case
    when time_type = 'timestamptz'::regtype then (t.at at time zone 'UTC')::text
    when time_type = 'timestamp'::regtype then t.at::text
    when time_type = 'date'::regtype then t.at::date::text
    else units::text end
  from (select '1970-01-01'::timestamp + (units / 86400000000) * interval '1 day'
               + (units % 86400000000) * interval '1 microsecond' where time_type not in ('int2', 'int4', 'int8')
        union all select null where time_type in ('int2', 'int4', 'int8')) t(at)
$$;
comment on function tidemill._time_text is 'The time that counts so much, as text that its type reads under any time zone and date style.';
