-- Steps of create_hypertable, between the old table and the new one.

create or replace function tidemill._bare_name(relation regclass) returns name
language sql stable set search_path = pg_catalog, pg_temp
as $$ select r.relname from pg_class r where r.oid = relation $$;

create or replace function tidemill._has_index_by(relation regclass, time_column name) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = relation and a.attname = time_column and i.indpred is null and i.indisvalid)
$$;
comment on function tidemill._has_index_by is 'Whether an index begins with this column.';

create or replace function tidemill._chunks_schema(relation regclass, wanted name default null) returns name
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  owner regrole;
  grants text;
begin
  select coalesce(wanted, (s.nspname || '_chunks')::name), r.relowner into wanted, owner
    from pg_class r join pg_namespace s on s.oid = r.relnamespace where r.oid = relation;
  grants := format('grant usage, create on schema %I to %s;', wanted, owner);
  if to_regnamespace(quote_ident(wanted)) is null then
    if not has_database_privilege(current_database(), 'create') then
      raise exception using errcode = '42501',
        message = format('no schema "%s" for the chunks, and no right to create it', wanted),
        hint = format(E'Let an administrator run:\ncreate schema %I;\n%s\nOr name a schema of your own: associated_schema_name', wanted, grants);
    end if;
    execute format('create schema %I authorization %s', wanted, owner);
  elsif not has_schema_privilege(owner, wanted, 'create') or not has_schema_privilege(owner, wanted, 'usage') then
    raise exception using errcode = '42501',
      message = format('permission denied for the schema "%s" of the chunks', wanted),
      hint = format(E'Let an administrator run:\n%s', grants);
  end if;
  perform tidemill._expect_own_schema(wanted, owner);
  return wanted;
end
$$;
comment on function tidemill._chunks_schema is 'The schema of a table''s chunks; made if it is missing. Error: 42501 without the right.';

create or replace function tidemill._count_rows(relation regclass, time_column name, migrate boolean) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  is_empty boolean;
  n bigint := 0;
  timeless bigint;
begin
  execute format('select not exists (select from only %s)', relation) into is_empty;
  if is_empty then
    return 0;
  end if;
  if migrate is not true then
    raise exception using errcode = '0A000',
      message = format('table "%s" is not empty', tidemill._bare_name(relation)),
      hint = 'Say migrate_data => true; the table is locked while its rows are moved.';
  end if;
  execute format('select pg_catalog.count(*), pg_catalog.count(*) filter (where %I is null) from only %s', time_column, relation)
    into n, timeless;
  if timeless > 0 then
    raise exception using errcode = '23502',
      message = format('%s rows of "%s" have no "%s"', timeless, tidemill._bare_name(relation), time_column),
      hint = format('Find them with: select * from %s where %I is null', relation, time_column);
  end if;
  return n;
end
$$;
comment on function tidemill._count_rows is 'How many rows there are to move. Errors: 0A000 there are some and nobody said so, 23502 some have no time.';

create or replace function tidemill._take_over_identity(old regclass, new regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  i record;
  last_value bigint;
  is_called boolean;
begin
  for i in
    select a.attname, pg_get_serial_sequence(old::text, a.attname)::regclass as old_sequence,
        pg_get_serial_sequence(new::text, a.attname)::regclass as new_sequence
      from pg_attribute a where a.attrelid = old and a.attidentity <> '' and not a.attisdropped
  loop
    execute format('select s.last_value, s.is_called from %s s', i.old_sequence) into last_value, is_called;
    perform setval(i.new_sequence, last_value, is_called);
    if tidemill._bare_name(i.old_sequence) <> tidemill._bare_name(i.new_sequence) then
      execute format('alter sequence %s rename to %I', i.new_sequence, tidemill._bare_name(i.old_sequence));
    end if;
  end loop;
end
$$;
comment on function tidemill._take_over_identity is 'Identity sequences keep their names, and go on where they were.';

create or replace function tidemill._make_default(h tidemill._hypertables, old regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  made constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_default', h.id));
  owner constant regrole := (select r.relowner from pg_class r where r.oid = h.rows_table);
begin
  execute format('create table %s partition of %s default%s', made, h.rows_table,
    ' with (' || tidemill._storage_options(old) || ')');
  perform tidemill._copy_replica_identity(old, made::regclass);
  perform tidemill._revoke_from_others(made::regclass);
  if owner <> current_user::regrole then
    execute format('alter table %s owner to %s', made, owner);
  end if;
end
$$;
comment on function tidemill._make_default is 'The default partition, which has the rows without a chunk; chunks have its storage parameters.';

create or replace function tidemill._copy_rows(h tidemill._hypertables, old regclass, expected bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  columns constant text := tidemill._stored_columns(old);
  counted constant text := tidemill._time_units(h.time_type, quote_ident(h.time_column));
  here text;
  c tidemill._chunks;
  units bigint;
  n bigint;
begin
  if expected = 0 then
    return;
  end if;
  if not tidemill._has_index_by(old, h.time_column) then
    -- Each chunk then finds its rows without reading those of the others.
    execute format('create index on %s (%I)', old, h.time_column);
  end if;
  here := tidemill._countable(h.time_type, h.time_column);
  loop
    execute format('select %s from only %s where %s order by %I limit 1', counted, old,
      concat_ws(' and ', here, case when c.range_end is not null then format('%I operator(pg_catalog.>=) %s',
        h.time_column, tidemill._bound_literal(h.time_type, c.range_end)) end), h.time_column) into units;
    exit when units is null;
    c := tidemill._ensure_chunk(h, units, old);
    exit when tidemill._bound_literal(h.time_type, c.range_end) = 'maxvalue';
  end loop;
  execute format('insert into %s (%s) overriding system value select %2$s from only %3$s where not (%4$s)',
    tidemill._default_partition(h), columns, old, here);
  execute format('select pg_catalog.count(*) from %s', h.rows_table) into n;
  if n <> expected then
    raise exception using errcode = 'XX000', message = format('%s rows were there, but %s arrived', expected, n);
  end if;
end
$$;
comment on function tidemill._copy_rows is 'Copies the rows of the old table, chunk by chunk, and counts them.';
