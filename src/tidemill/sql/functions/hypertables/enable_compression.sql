create or replace function tidemill.enable_compression(hypertable regclass, segmentby text default '')
returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
  schema_name name;
  table_name name;
  rows_schema name;
  shown text;
  owner name;
  c record;
begin
  perform tidemill._check_owner(h.rows_table);
  perform tidemill._expect_read_committed();
  if (select r.relowner from pg_class r where r.oid = h.rows_table) <> current_user::regrole then
    raise exception using errcode = '42501', message = format('only the owner itself can enable compression on "%s"', tidemill._bare_name(hypertable)),
      hint = format('SET ROLE %s', (select r.relowner::regrole from pg_class r where r.oid = h.rows_table));
  end if;
  if h.segments is not null then
    raise exception using errcode = '42710', message = format('compression is already enabled on hypertable "%s"', tidemill._bare_name(hypertable)),
      hint = 'Compress its chunks with compress_chunk.';
  end if;
  execute format('lock table %s in access exclusive mode', h.rows_table);
  h.segmentby := tidemill._segmentby(h, segmentby);
  perform tidemill._refuse_what_a_view_breaks(h);
  select n.nspname, r.relname, pg_get_userbyid(r.relowner) into schema_name, table_name, owner
    from pg_class r join pg_namespace n on n.oid = r.relnamespace where r.oid = h.rows_table;
  rows_schema := schema_name || '_rows';
  shown := format('%I.%I', schema_name, table_name);

  h.segments := tidemill._create_segments(h);
  for c in select f.conname, pg_get_constraintdef(f.oid) as definition from pg_constraint f
           where f.contype = 'f' and f.conrelid = h.rows_table
  loop
    execute format('alter table %s add constraint %I %s', h.segments, c.conname, c.definition);
  end loop;
  perform tidemill._own_schema(rows_schema);
  execute format('alter table %s set schema %I', h.rows_table, rows_schema);
  execute format('create view %s with (security_invoker = true) as %s', shown, tidemill._all_rows(h));
  h.view := shown::regclass;
  for c in select * from tidemill._columns(h.rows_table) loop
    if c.default_expression is not null then
      execute format('alter view %s alter %I set default %s', shown, c.name, c.default_expression);
    elsif c.is_identity then
      execute format('alter view %s alter %I set default nextval(%L)', shown, c.name,
        pg_get_serial_sequence(h.rows_table::text, c.name));
    end if;
  end loop;
  perform tidemill._create_inserts(h);
  perform tidemill._share_grants(h);
  -- Locking rows through a view asks for this privilege, and would lock none.
  execute format('revoke update on %s from %I', shown, owner);
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
  raise notice using
    message = format('%s is now a view over rows and segments; its rows stand in %s', shown, h.rows_table),
    hint = format('Who upserts, merges, or locks rows puts %I first: SET search_path = %1$I, %I', rows_schema, schema_name);
  return h.view;
end
$$;
comment on function tidemill.enable_compression is
$$Lets the chunks of a hypertable be compressed. Its name becomes a view over its rows and its packed rows.

hypertable  a table that create_hypertable has made
segmentby   columns, separated by commas, by which packed rows are found fast, for instance the device; default none

Returns the view. SELECT, INSERT and COPY go on under the name; the table of rows has the same name in the schema
<schema>_rows. ON CONFLICT, MERGE, UPDATE, DELETE and row locks are refused through the view, and work on that table.
For queries of some time alone, set constraint_exclusion = on.

Errors: TS001 no hypertable, 42501 not its owner, 42710 enabled already, 42703 no such column, 42611 the time or a name
of Tidemill's in segmentby, 0A000 something that a view would break: it is named.$$;

create or replace function tidemill._segmentby(h tidemill._hypertables, given text) returns name[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  column_name text;
  found_names name[] := '{}';
begin
  foreach column_name in array string_to_array(given, ',') loop
    column_name := trim(column_name);
    if column_name ~ '^".*"$' then
      column_name := (parse_ident(column_name))[1];
    end if;
    if not exists (select from tidemill._columns(h.rows_table) c where c.name = column_name) then
      raise exception using errcode = '42703', message = format('column "%s" of segmentby does not exist', column_name),
        hint = format('Give columns of %s, separated by commas.', h.rows_table);
    elsif column_name = h.time_column or column_name = any(found_names) then
      raise exception using errcode = '42611', message = format('column "%s" cannot be in segmentby%s', column_name,
          case when column_name = h.time_column then ': it is the time' else ' twice' end),
        hint = 'Name columns by which rows are looked for, such as a device.';
    end if;
    found_names := found_names || column_name::name;
  end loop;
  select c.name into column_name from tidemill._columns(h.rows_table) c where c.name in ('_chunk', '_first', '_last', '_rows', '_row');
  if found then
    raise exception using errcode = '42611', message = format('a column of %s is called "%s", as one of the segments', h.rows_table, column_name),
      hint = 'Rename the column.';
  end if;
  return found_names;
end
$$;

create or replace function tidemill._refuse_what_a_view_breaks(h tidemill._hypertables) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  relation constant regclass := h.rows_table;
  broken text;
begin
  select string_agg(b.what, ', ' order by b.what) into broken
    from (
      select format('the foreign key %I of %s', f.conname, f.conrelid::regclass) as what from pg_constraint f
        where f.contype = 'f' and f.confrelid = relation and f.conparentid = 0
      union all
      select format('the publication %I', p.pubname) from pg_publication p
        where p.puballtables or exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = relation)
          or exists (select from pg_publication_namespace n join pg_class c on c.relnamespace = n.pnnspid
                     where n.pnpubid = p.oid and c.oid = relation)
      union all
      select 'row level security' from pg_class c where c.oid = relation and c.relrowsecurity
      union all
      select tidemill._dependents(relation)
      union all
      select format('the constraint %I, which is deferrable', f.conname) from pg_constraint f
        where f.conrelid = relation and f.condeferrable
      union all
      select format('the grants on the column %I', a.attname) from pg_attribute a
        where a.attrelid = relation and cardinality(a.attacl) > 0 and a.attnum > 0
      union all
      select format('the column %I of a type that does not come back as it was', a.attname)
        from pg_attribute a join pg_type t on t.oid = a.atttypid join pg_type e on e.oid = t.typelem
        where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and t.typcategory = 'A'
          and (e.typname = 'money' or e.typname like 'reg%' and e.typnamespace = 'pg_catalog'::regnamespace)
      union all
      -- One on columns of segmentby stands on the segments, too.
      select format('the foreign key %I, whose columns are not in segmentby', f.conname)
        from pg_constraint f where f.contype = 'f' and f.conrelid = relation and not tidemill._is_of_segments(h, f.conkey)
    ) b;
  if broken is not null then
    raise exception using errcode = '0A000',
      message = format('compression cannot be enabled on "%s", since it would break: %s', relation, broken),
      hint = 'Drop what is named first, and make views and functions again afterwards.';
  end if;
end
$$;
comment on function tidemill._refuse_what_a_view_breaks is
$$Raises 0A000 if something would no longer work, or no longer protect all rows, once some are packed behind a view.$$;

create or replace function tidemill._is_of_segments(h tidemill._hypertables, columns smallint[]) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select bool_and(a.attname = any(h.segmentby))
  from pg_attribute a where a.attrelid = h.rows_table and a.attnum = any(columns)
$$;
comment on function tidemill._is_of_segments is 'Whether the segments have these columns of the table as they are.';

create or replace function tidemill._all_rows(h tidemill._hypertables) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('select %s from %s union all %s', string_agg(format('%I', c.name), ', '), h.rows_table,
                tidemill._decoded(h, h.segments::text))
  from tidemill._columns(h.rows_table) c
$$;
comment on function tidemill._all_rows is 'The query of a hypertable''s view.';

create or replace function tidemill._create_inserts(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  columns constant text := tidemill._stored_columns(h.rows_table);
  given constant text := (select string_agg(format('new.%I', c.name), ', ')
                          from tidemill._columns(h.rows_table) c where not c.is_generated);
  copies constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_copy', h.id));
begin
  -- The rule inserts set at once. COPY takes only a trigger.
  execute format('create rule _insert as on insert to %s do instead insert into %s (%s) overriding system value values (%s) returning %s',
    h.view, h.rows_table, columns, given,
    (select string_agg(format('%I', c.name), ', ') from tidemill._columns(h.rows_table) c));
  execute format('create function %s() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as %L', copies, format(
    'begin insert into %s (%s) overriding system value values (%s); return new; end', h.rows_table, columns, given));
  execute format('create trigger _copy instead of insert on %s for each row execute function %s()', h.view, copies);
end
$$;
comment on function tidemill._create_inserts is 'Lets INSERT and COPY into a hypertable''s view write into its rows.';

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
    where c.oid = h.rows_table and a.grantee <> c.relowner and a.privilege_type in ('SELECT', 'INSERT')
  loop
    execute format('grant %s on %s to %s%s', g.privilege_type, h.view, g.grantee, case when g.is_grantable then ' with grant option' end);
    if g.privilege_type = 'SELECT' then
      execute format('grant select on %s to %s', h.segments, g.grantee);
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
      hint = format('Let an administrator run: CREATE SCHEMA %I AUTHORIZATION %I', schema_name, current_user);
  end if;
  execute format('create schema %I', schema_name);
end
$$;
comment on function tidemill._own_schema is 'Creates a schema, if the caller cannot create in it already. Error: 42501 nor may they create it.';
