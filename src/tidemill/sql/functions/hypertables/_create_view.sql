-- The view over the rows and the packed rows of a hypertable.

create or replace function tidemill._create_view(h tidemill._hypertables, rows_schema name default null) returns tidemill._hypertables
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  schema_name name;
  table_name name;
begin
  select n.nspname, r.relname into schema_name, table_name
    from pg_class r join pg_namespace n on n.oid = r.relnamespace where r.oid = h.rows_table;
  h.shown_schema := coalesce(h.shown_schema, schema_name);
  if h.is_transparent then
    rows_schema := coalesce(rows_schema, nullif(schema_name, h.shown_schema), (h.shown_schema || '_rows')::name);
    if rows_schema = h.shown_schema then
      raise exception using errcode = '22023', message = format('rows_schema "%s" is the schema of the view', rows_schema),
        hint = 'Both have the name of the table, so name another.';
    end if;
    perform tidemill._own_schema(rows_schema);
    execute format('alter table %s set schema %I', h.rows_table, rows_schema);
  else
    execute format('alter table %s set schema %I', h.rows_table, h.shown_schema);
    table_name := tidemill._with_suffix(table_name, '_all');
  end if;
  execute format('create view %I.%I with (security_invoker = true) as %s', h.shown_schema, table_name, tidemill._all_rows(h));
  h.view := format('%I.%I', h.shown_schema, table_name)::regclass;
  perform tidemill._match_defaults(h);
  perform tidemill._create_unpack(h);
  perform tidemill._create_upsert_triggers(h);
  perform tidemill._create_writes(h);
  perform tidemill._share_grants(h);
  if not h.is_updatable then
    -- Locking rows through a view asks for this privilege, and would lock none.
    execute format('revoke update on %s from %I', h.view, current_user);
  end if;
  if h.is_transparent then
    raise notice using
      message = format('%s is now a view over rows and segments; its rows stand in %s', h.view, h.rows_table),
      hint = format('Who upserts, merges, or locks rows puts %I first: SET search_path = %1$I, %I', rows_schema, h.shown_schema);
  else
    raise notice using
      message = format('%s has the rows that are not packed; the view %s has all', h.rows_table, h.view),
      hint = 'With set_transparent the name becomes the view''s.';
  end if;
  return h;
end
$$;
comment on function tidemill._create_view is
  'Makes a hypertable''s view, and what it is written by; moves the table of rows, if the view takes its name. Returns the hypertable with them.';

create or replace function tidemill._match_defaults(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  c record;
begin
  for c in
    select r.name, coalesce(r.default_expression, case when r.is_identity
             then format('nextval(%L::regclass)', pg_get_serial_sequence(h.rows_table::text, r.name)) end) as wanted,
           v.default_expression as there
    from tidemill._columns(h.rows_table) r join tidemill._columns(h.view) v using (name)
  loop
    if c.wanted is null and c.there is not null then
      execute format('alter view %s alter %I drop default', h.view, c.name);
    elsif c.wanted is distinct from c.there then
      execute format('alter view %s alter %I set default %s', h.view, c.name, c.wanted);
    end if;
  end loop;
end
$$;
comment on function tidemill._match_defaults is 'Gives the view of a hypertable the defaults that its rows have by now.';

create or replace function tidemill._with_suffix(given name, suffix text, bytes integer default 63) returns name
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select (left(given::text, n) || suffix)::name from generate_series(length(given::text), 1, -1) n
  where octet_length(left(given::text, n) || suffix) <= bytes limit 1
$$;
comment on function tidemill._with_suffix is 'A name with a suffix behind it, shortened to so many bytes that the suffix stays.';

create or replace function tidemill._all_rows(h tidemill._hypertables) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('select %s from %s', (select string_agg(format('%I', c.name), ', ') from tidemill._columns(h.rows_table) c),
                h.rows_table)
    || string_agg(case
         when a.low is null and a.high is null then ' union all ' || tidemill._decoded(h, tidemill._segments_where(h))
         -- A chunk may have come that crosses a cut: its segments are in both arms, and each row in one.
         else format(' union all select * from (%s) _arm where %s',
           tidemill._decoded(h, tidemill._segments_where(h, concat_ws(' and ',
             nullif(tidemill._time_within(h, '_last', a.low, null), ''), nullif(tidemill._time_within(h, '_first', null, a.high), '')))),
           tidemill._time_within(h, quote_ident(h.time_column), a.low, a.high))
         end, '' order by a.low desc nulls last)
  from tidemill._arms(h) a
$$;
comment on function tidemill._all_rows is 'The query of a hypertable''s view.';

create or replace function tidemill._share_grants(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  g record;
  sequence_name text;
begin
  for g in
    select case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee,
           a.privilege_type, a.is_grantable
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = h.rows_table and a.grantee <> c.relowner
      and (a.privilege_type in ('SELECT', 'INSERT', 'DELETE') or a.privilege_type = 'UPDATE' and h.is_updatable)
  loop
    execute format('grant %s on %s to %s%s', g.privilege_type, h.view, g.grantee, case when g.is_grantable then ' with grant option' end);
    if g.privilege_type = 'SELECT' then
      execute format('grant select on %s to %s', h.segments, g.grantee);
    end if;
    if g.privilege_type in ('DELETE', 'UPDATE') then
      execute format('grant execute on function %s to %s',
        (select p.oid::regprocedure from pg_proc p
         where p.pronamespace = h.chunks_schema::text::regnamespace and p.proname = format('_hyper_%s_bring_back', h.id)), g.grantee);
    end if;
    if g.privilege_type = 'INSERT' then
      -- The defaults of the view are those of its identity columns.
      for sequence_name in
        select pg_get_serial_sequence(h.rows_table::text, k.name) from tidemill._columns(h.rows_table) k where k.is_identity
      loop
        execute format('grant usage on sequence %s to %s', sequence_name, g.grantee);
      end loop;
    end if;
    -- The view reads and writes as whoever uses it.
    execute format('grant usage on schema %I, %s to %s', h.chunks_schema,
      (select c.relnamespace::regnamespace from pg_class c where c.oid = h.rows_table), g.grantee);
  end loop;
end
$$;
comment on function tidemill._share_grants is 'Grants on the view what is granted on the rows.';

create or replace function tidemill._own_schema(schema_name name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._expect_own_schema(schema_name, current_user::regrole);
  if exists (select from pg_namespace n where n.nspname = schema_name and has_schema_privilege(n.oid, 'create')) then
    return;
  end if;
  if exists (select from pg_namespace n where n.nspname = schema_name) or not has_database_privilege(current_database(), 'create') then
    raise exception using errcode = '42501', message = format('permission denied to create in the schema "%s"', schema_name),
      hint = format('Let an administrator run: CREATE SCHEMA %I AUTHORIZATION %I; or name a schema of your own: rows_schema', schema_name, current_user);
  end if;
  execute format('create schema %I', schema_name);
end
$$;
comment on function tidemill._own_schema is 'Creates a schema, if the caller cannot create in it already. Error: 42501 nor may they create it.';
