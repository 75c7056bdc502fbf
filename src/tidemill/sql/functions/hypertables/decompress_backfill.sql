-- A procedure that commits has no SET clause, so all names are qualified here; what it calls sets its own.
create or replace procedure tidemill.decompress_backfill(
  staging_table regclass,
  destination_hypertable regclass,
  on_conflict_action text default 'NOTHING',
  delete_from_staging boolean default true,
  compression_job_push_interval interval default '1 day',
  on_conflict_update_columns text[] default '{}',
  skip_empty_ranges boolean default false,
  on_conflict_target text default ''
)
language plpgsql
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(destination_hypertable);
  conflict constant pg_catalog.text := tidemill._conflict_clause(on_conflict_action, on_conflict_update_columns, on_conflict_target);
  due bigint;
  step record;
  moved bigint;
  added bigint;
begin
  perform tidemill._check_staging(h, staging_table);
  loop
    -- Where rows are taken from the staging table, what is left to do is what is left there: so any call goes on.
    due := tidemill._next_staged(h, staging_table, due);
    exit when due is null;
    -- Others may have changed it since the last commit.
    h := tidemill._hypertable(h.rows_table);
    select s.* into step from tidemill._begin_backfill(h, staging_table, due, conflict, delete_from_staging) s;
    -- Here the user's triggers have the caller's search path.
    execute step.statement into moved, added;
    perform tidemill._end_backfill(h, step.c);
    perform tidemill._note_hypertable_act(
      h, 'decompress_backfill', null, pg_catalog.jsonb_build_object('rows', moved, 'added', added), (step.c).relation);
    raise notice '% rows moved in range % to %', moved, step.starts, pg_catalog.concat(step.ends,
      case when added operator(pg_catalog.<) moved
        then pg_catalog.format(', of which %s were not added', moved operator(pg_catalog.-) added) end);
    due := (step.c).range_end;
    commit;
  end loop;
end
$$;
comment on procedure tidemill.decompress_backfill is
$$Moves rows of a staging table into a hypertable, also where its chunks are compressed. Commits after each chunk.

staging_table               a table with the columns of the hypertable, in their order
destination_hypertable      where they go
on_conflict_action          of a row whose key is there: NOTHING (default) keeps that one and drops the staged row, UPDATE
                            changes it, RESTRICT raises 23505, and the chunk stays as it was
delete_from_staging         true (default): moves; false: copies, so that a second call without a unique key copies again
compression_job_push_interval  not used: a compression policy waits for the chunk that is being filled
on_conflict_update_columns  the columns that UPDATE changes
skip_empty_ranges           not used: ranges without a staged row are not looked at
on_conflict_target          what stands behind ON CONFLICT, for instance (device_id, time), or a list of columns; UPDATE needs it

Of a compressed chunk only the segments with the time of a staged row are unpacked, and packed again. Chunks that are missing
are made. After a crash another call goes on: each chunk is done as a whole or not at all. Call it outside of a transaction.
Errors: TS001 no hypertable, 42501 not its owner, 42804 columns that do not fit, 22004 a staged row without time, 22023 an
unknown action or UPDATE without columns or target, 21000 two staged rows with one key. Behaviour follows the procedure
of that name in timescaledb-extras.$$;

create or replace function tidemill._conflict_clause(action text, columns text[], target text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  case upper(action)
    when 'RESTRICT' then
      return '';
    when 'NOTHING' then
      return concat('on conflict ', tidemill._conflict_target(target), ' do nothing');
    when 'UPDATE' then
      if coalesce(cardinality(columns), 0) = 0 or coalesce(trim(target), '') = '' then
        raise exception using errcode = '22023', message = 'UPDATE needs on_conflict_update_columns and on_conflict_target',
          hint = 'For instance on_conflict_update_columns => ''{value}'', on_conflict_target => ''(device_id, time)''.';
      end if;
      return 'on conflict ' || tidemill._conflict_target(target) || ' do update set '
        || (select string_agg(format('%I = excluded.%1$I', c), ', ') from unnest(columns) c);
    else
      raise exception using errcode = '22023', message = format('on_conflict_action "%s" is unknown', action),
        hint = 'Use NOTHING, UPDATE or RESTRICT.';
  end case;
end
$$;

create or replace function tidemill._conflict_target(given text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  -- As behind ON CONFLICT; a list of columns alone is meant to be in brackets.
  select case when given ~* '^[[:space:]]*([(]|on[[:space:]]+constraint|$)' then given else '(' || given || ')' end
$$;
comment on function tidemill._conflict_target is 'What stands behind ON CONFLICT, as SQL.';

create or replace function tidemill._check_staging(h tidemill._hypertables, staging regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  misfit record;
  timeless boolean;
begin
  perform tidemill._check_owner(h.rows_table);
  if staging in (h.rows_table, h.view, h.segments) or exists (
    select from pg_inherits i where i.inhrelid = staging and i.inhparent in (h.rows_table, h.segments))
  then
    raise exception using errcode = '22023', message = format('the staging table %s belongs to the hypertable itself', staging),
      hint = format('Make another one: CREATE TABLE %s_new (LIKE %1$s)', h.rows_table);
  end if;
  select d.name as wanted, d.type as wanted_type, s.name as given, s.type as given_type into misfit
    from (select c.*, row_number() over () from tidemill._columns(h.rows_table) c) d
    full join (select c.*, row_number() over () from tidemill._columns(staging) c) s using (row_number)
    where (d.name, d.type) is distinct from (s.name, s.type)
    limit 1;
  if found then
    raise exception using errcode = '42804',
      message = format('the staging table %s does not fit: where %s has %s, it has %s', staging, h.rows_table,
                       case when misfit.wanted is null then 'no column' else format('%I %s', misfit.wanted, misfit.wanted_type) end,
                       case when misfit.given is null then 'none' else format('%I %s', misfit.given, misfit.given_type) end),
      hint = format('Make one that does: CREATE TABLE %s_new (LIKE %s)', staging, h.rows_table);
  end if;
  execute format('select exists (select from %s where %I is null)', staging, h.time_column) into timeless;
  if timeless then
    raise exception using errcode = '22004', message = format('a row of %s has no %I', staging, h.time_column),
      hint = 'Delete such rows, or give them a time.';
  end if;
  execute format('select exists (select from %s where not (%s))', staging, tidemill._countable(h.time_type, h.time_column))
    into timeless;
  if timeless then
    raise exception using errcode = '22008', message = format('a row of %s has a %I that is in no chunk', staging, h.time_column),
      hint = 'Infinite times, and those that are too far away, cannot be backfilled.';
  end if;
end
$$;
comment on function tidemill._check_staging is 'Raises an error unless all rows of a staging table can be rows of a hypertable.';

create or replace function tidemill._next_staged(h tidemill._hypertables, staging regclass, from_units bigint) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  found_units bigint;
begin
  execute format('select min(%s) from %s s where %s', tidemill._time_units(h.time_type, format('s.%I', h.time_column)), staging,
    coalesce(tidemill._at_or_after(h, from_units), 'true'))
    into found_units;
  return found_units;
end
$$;
comment on function tidemill._next_staged is 'The least time of a staging table, from some time on; NULL if there is none.';

-- A bound of a chunk may lie behind the range of a small type.
create or replace function tidemill._at_or_after(h tidemill._hypertables, units bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    then format('s.%I::bigint operator(pg_catalog.>=) %L::bigint', h.time_column, units)
    else format('s.%I operator(pg_catalog.>=) %L::%s', h.time_column, tidemill._time_text(h.time_type, units), h.time_type) end
  where units is not null
$$;

create or replace function tidemill._before(h tidemill._hypertables, units bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    then format('s.%I::bigint operator(pg_catalog.<) %L::bigint', h.time_column, units)
    else format('s.%I operator(pg_catalog.<) %L::%s', h.time_column, tidemill._time_text(h.time_type, units), h.time_type) end
$$;

create or replace function tidemill._begin_backfill(
  h tidemill._hypertables, staging regclass, due bigint, conflict text, deletes boolean,
  out c tidemill._chunks, out statement text, out starts text, out ends text
)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  found_again tidemill._chunks;
  triggers text;
begin
  c := tidemill._ensure_chunk(h, due);
  -- First the table and then the chunk, as inserts do.
  execute format('lock table only %s in row exclusive mode', h.rows_table);
  select k.* into found_again from tidemill._chunks k
    where k.hypertable_id = h.id and k.range_start <= due and due < k.range_end;
  if found then
    c := tidemill._locked_chunk(found_again.relation);
  else
    -- Somebody has dropped it meanwhile, so the rows wait in the default partition.
    c.is_compressed := false;
  end if;
  starts := tidemill._time_text(h.time_type, c.range_start);
  ends := tidemill._time_text(h.time_type, c.range_end);
  if c.is_compressed then
    perform tidemill._check_deletable(c.relation);
    triggers := tidemill._without_triggers(c.relation);
    -- By equality, which can be hashed: rows with NULL there are in no conflict, as _shared_segmentby has it.
    perform tidemill._unpack(h, c, format(
      'exists (select from (select s.* from %s s where %s) t where t.%I between s._first and s._last and (%s)%s)', staging,
      concat_ws(' and ', tidemill._at_or_after(h, c.range_start), tidemill._before(h, c.range_end)), h.time_column,
      tidemill._holds(h, 's', format('t.%I', h.time_column)),
      (select string_agg(format(' and t.%1$I = s.%1$I', g), '') from unnest(tidemill._shared_segmentby(h)) g)));
    execute triggers;
  end if;
  statement := format(
    'with staged as (%s), kept as (insert into %s (%s) overriding system value select %3$s from staged %s returning 1)'
    ' select (select pg_catalog.count(*) from staged), (select pg_catalog.count(*) from kept)',
    format(case when deletes then 'delete from %s s where %s returning s.*' else 'select s.* from %s s where %s' end,
      staging, concat_ws(' and ', tidemill._at_or_after(h, c.range_start), tidemill._before(h, c.range_end))),
    h.rows_table, tidemill._stored_columns(h.rows_table), conflict);
end
$$;
comment on function tidemill._begin_backfill is
  'Unpacks what the staged rows of one chunk may meet, from the one that holds this time; returns the statement that moves them.';

create or replace function tidemill._end_backfill(h tidemill._hypertables, c tidemill._chunks) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  triggers text;
begin
  if c.is_compressed then
    triggers := tidemill._without_triggers(c.relation);
    perform tidemill._pack(h, c);
    execute triggers;
    perform tidemill._guard(h, c);
    c := tidemill._count_packed(h, c);
    c.emptied_by := pg_current_xact_id();
    insert into tidemill._hypertable_requests (c, verb) values (c, 'keep c');
  end if;
end
$$;
comment on function tidemill._end_backfill is 'Packs a chunk again, if it was packed.';
