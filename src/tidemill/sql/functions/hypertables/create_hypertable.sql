create or replace function tidemill.create_hypertable(
  relation regclass,
  time_column_name name,
  partitioning_column name default null,
  number_partitions integer default null,
  associated_schema_name name default null,
  associated_table_prefix name default null,
  chunk_time_interval anycompatible default null,
  create_default_indexes boolean default true,
  if_not_exists boolean default false,
  partitioning_func regproc default null,
  migrate_data boolean default false,
  time_partitioning_func regproc default null
) returns table (hypertable_id integer, schema_name name, table_name name, created boolean)
language plpgsql set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres' set lock_timeout = '5s'
as $$
declare
  made record;
begin
  perform tidemill._refuse_argument('partitioning_column',
    partitioning_column is not null or number_partitions is not null or partitioning_func is not null,
    'Cut by time alone; an index that begins with the column finds its rows, and segmentby of enable_compression packed ones.');
  perform tidemill._refuse_argument('associated_table_prefix', associated_table_prefix is not null,
    'Chunks are named by the number of the hypertable and their own.');
  perform tidemill._refuse_argument('time_partitioning_func',
    time_partitioning_func is not null, 'Use a column that is the time itself.');
  select m.hypertable_id, m.rows_table, m.created into made
    from tidemill._create_hypertable(relation, time_column_name, chunk_time_interval::text, pg_typeof(chunk_time_interval),
      create_default_indexes, if_not_exists, migrate_data, associated_schema_name) m;
  -- Only a later statement sees the new table.
  return query
    select made.hypertable_id, s.nspname, r.relname, made.created
    from pg_class r join pg_namespace s on s.oid = r.relnamespace where r.oid = made.rows_table;
end
$$;
comment on function tidemill.create_hypertable(
  regclass, name, name, integer, name, name, anycompatible, boolean, boolean, regproc, boolean, regproc) is
$$Makes a table a hypertable: cut by time into chunks, so that old ones go at once and each is small.

The table gives way to a partitioned one of its name, with all that it has: columns, defaults, sequences,
constraints, indexes, grants, triggers, policies, comments. An action makes its chunks ahead of time. It waits 5 seconds for the lock, and holds it to the end of
the transaction. The chunks are in the schema of the table's schema and "_chunks".

relation                the table; it must be empty unless migrate_data
time_column_name        its column of the time: timestamptz, timestamp, date, smallint, integer or bigint
chunk_time_interval     the width of a chunk: an interval, in which a month is 30 days; or a whole number, which is
                        microseconds unless the time is a number. Default: 7 days; 10000, 100000 or 1000000
create_default_indexes  an index by time, the newest first, if none begins with the time
if_not_exists           a table that is one already is told by a NOTICE, and returned with created = false
migrate_data            moves the rows, too; triggers do not fire
associated_schema_name  the schema of its chunks; default the table's schema and "_chunks"
partitioning_column, number_partitions, associated_table_prefix, partitioning_func,
time_partitioning_func  refused

Errors: TS110 it is one already, 0A000 it has what a hypertable cannot have (each with what to do), 42501 for its
owner alone, or no schema for the chunks, 42703 no such column, 42804 no such type, 22023 a NULL or no width, 23502 a row
without a time, 25001 a transaction that may not see all there is, 55P03 the lock was not to be had.$$;

create or replace function tidemill.create_hypertable(
  relation regclass,
  dimension tidemill.dimension_info,
  create_default_indexes boolean default true,
  if_not_exists boolean default false,
  migrate_data boolean default false
) returns table (hypertable_id integer, created boolean)
language plpgsql set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres' set lock_timeout = '5s'
as $$
begin
  return query
    select m.hypertable_id, m.created
    from tidemill._create_hypertable(relation, dimension.column_name, dimension.chunk_width, dimension.chunk_width_type,
      create_default_indexes, if_not_exists, migrate_data) m;
end
$$;
comment on function tidemill.create_hypertable(regclass, tidemill.dimension_info, boolean, boolean, boolean) is
$$As the other create_hypertable.

dimension  the column of the time and the width of a chunk: tidemill.by_range$$;

create or replace function tidemill._create_hypertable(
  relation regclass, time_column name, width text, width_type regtype, default_index boolean, if_not_exists boolean,
  migrate boolean, chunks_schema name default null, out hypertable_id integer, out rows_table regclass, out created boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables;
  old regclass := relation;
  relation_name text;
  place name;
  early text[];
  middle text[];
  late text[];
  part text;
  n bigint;
begin
  if relation is null then
    raise exception using errcode = '22023', message = 'relation cannot be NULL', hint = 'Name a table.';
  end if;
  perform tidemill._expect_read_committed();
  if time_column is null then
    raise exception using errcode = '22023', message = 'partition column cannot be NULL', hint = 'Name the column of the time.';
  end if;
  h := tidemill._known_hypertable(relation, if_not_exists);
  if h.id is not null then
    select h.id, case when h.is_transparent then coalesce(h.view, h.rows_table) else h.rows_table end, false into hypertable_id, rows_table, created;
    return;
  end if;
  perform tidemill._check_owner(relation);
  perform tidemill._check_is_table(relation);
  execute format('lock table only %s in access exclusive mode', relation);
  h.time_column := time_column;
  h.time_type := tidemill._check_time_column(relation, time_column);
  h.chunk_width := tidemill._chunk_width(h.time_type, width, width_type);
  perform tidemill._check_parts(relation, time_column);
  h.chunks_schema := tidemill._chunks_schema(relation, chunks_schema);
  relation_name := relation::text;
  place := (select s.spcname from pg_class r join pg_tablespace s on s.oid = r.reltablespace where r.oid = relation);
  early := array(select p.statement from tidemill._table_parts(relation) p where p.stage = 'early');
  middle := array(select p.statement from tidemill._table_parts(relation) p where p.stage = 'middle');
  late := array(select p.statement from tidemill._table_parts(relation) p where p.stage = 'late');

  foreach part in array early loop
    execute part;
  end loop;
  n := tidemill._count_rows(relation, time_column, migrate);
  -- Away with its indexes and constraints, whose names are then free.
  execute format('alter table %s set schema %I', old, h.chunks_schema);
  execute format(
    'create table %s (like %s including all excluding indexes excluding statistics) partition by range (%I)%s',
    relation_name, old, time_column, ' tablespace ' || quote_ident(place));
  h.rows_table := relation_name::regclass;
  execute format('alter table %s alter column %I set not null', h.rows_table, time_column);
  perform tidemill._take_over_identity(old, h.rows_table);
  foreach part in array middle loop
    execute part;
  end loop;
  if default_index and not tidemill._has_index_by(h.rows_table, time_column) then
    execute format('create index on %s (%I desc)', h.rows_table, time_column);
  end if;
  insert into tidemill._hypertable_requests as q (h, verb) values (h, 'keep h') returning (q.h).id into h.id;
  perform tidemill._make_default(h, old);
  perform tidemill._copy_rows(h, old, n);
  execute format('drop table %s', old);
  foreach part in array late loop
    execute part;
  end loop;
  if h.time_type not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
    perform tidemill._ensure_chunk(h, tidemill._now_units(h.time_type));
    perform tidemill._ensure_chunk(h, tidemill._now_units(h.time_type) + h.chunk_width);
  end if;
  if n > 0 then
    execute format('analyze %s', h.rows_table);
  end if;
  perform tidemill._note_hypertable_act(h, 'create_hypertable', null,
    jsonb_build_object('time_column', h.time_column) || tidemill._interval_in_short(h));
  perform tidemill._add_chunks_policy(h);
  select h.id, h.rows_table, true into hypertable_id, rows_table, created;
end
$$;
comment on function tidemill._create_hypertable is 'What both functions create_hypertable do, with the width as text and type.';

create or replace function tidemill._known_hypertable(relation regclass, if_not_exists boolean) returns tidemill._hypertables
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables;
begin
  select i.* into h from tidemill._hypertables i where relation in (i.rows_table, i.view);
  if not found then
    perform tidemill._refuse_timescaledb(relation);
    return null;
  elsif not if_not_exists then
    raise exception using errcode = 'TS110',
      message = format('table "%s" is already a hypertable', tidemill._bare_name(relation)),
      hint = 'Say if_not_exists => true if that is fine.';
  end if;
  raise notice 'table "%" is already a hypertable, skipping', tidemill._bare_name(relation);
  return h;
end
$$;
comment on function tidemill._known_hypertable is
  'The hypertable that a table is already, told by a NOTICE; NULL if it is none. Error: TS110 it is one, which is not wanted.';
