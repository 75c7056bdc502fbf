create or replace function tidemill.make_chunks(hypertable regclass, until anycompatible default null) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set datestyle = 'ISO' set intervalstyle = 'postgres' set lock_timeout = '5s'
as $$
declare
  h constant tidemill._hypertables := tidemill._hypertable(hypertable);
  counted constant boolean := h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype);
  before bigint;
  made bigint;
  kind regtype := pg_typeof(until);
  last_units bigint;
  c tidemill._chunks;
  units bigint;
  ranges bigint[];
begin
  perform tidemill._check_owner(h.rows_table);
  if kind = 'text'::regtype and not counted and until is not null then
    kind := tidemill._literal_kind(until::text, h.time_type);
  end if;
  last_units := tidemill._time_bound(h.time_type,
    case kind when 'interval'::regtype then (- until::text::interval)::text else until::text end, kind);
  -- One session at a time makes or drops chunks of this table. Before any lock on a partition: the order is the table first.
  execute format('lock table only %s in share update exclusive mode', h.rows_table);
  perform tidemill._forget_gone_chunks(h);
  before := (select count(*) from tidemill._chunks k where k.hypertable_id = h.id);
  loop
    -- One time of each range. Where a neighbour cuts a range in two, the rest comes with the next look.
    execute format('select array_agg(r.first order by r.first) from ('
        'select min(t.units) from (select %s from only %s where %s) t(units) group by floor(t.units::numeric / %s)) r(first)',
        tidemill._time_units(h.time_type, quote_ident(h.time_column)), tidemill._default_partition(h),
        tidemill._countable(h.time_type, h.time_column), h.chunk_width) into ranges;
    exit when ranges is null;
    foreach units in array ranges loop
      perform tidemill._ensure_chunk(h, units);
    end loop;
  end loop;
  if last_units is null and not counted then
    last_units := tidemill._now_units(h.time_type) + h.chunk_width;
  end if;
  -- Those from now on; what lies before has rows, or has no need of a chunk.
  units := case when counted then
    (select max(k.range_end) from tidemill._chunks k where k.hypertable_id = h.id) else tidemill._now_units(h.time_type) end;
  units := coalesce(units, last_units);
  while units <= last_units loop
    c := tidemill._ensure_chunk(h, units);
    exit when c.range_end = 9223372036854775807;
    units := c.range_end;
  end loop;
  made := (select count(*) from tidemill._chunks k where k.hypertable_id = h.id) - before;
  if made > 0 then
    perform tidemill._note_hypertable_act(h, 'make_chunks', null, jsonb_build_object('made', made));
  end if;
  return made;
end
$$;
comment on function tidemill.make_chunks is
$$Moves the rows of the default partition into chunks of their own, and makes chunks ahead of time. Returns how many it made.

Rows whose time has no chunk wait in the default partition, where queries see them as any others.
It waits 5 seconds for locks, and holds up writers from the first chunk that it makes to the end of the transaction, and
readers from the first that gets rows.

hypertable  the table
until       makes the chunks from now up to this time: a time, an interval from now, or a whole number where the time is
            one (then from the last chunk on). Default: now and one width; none where the time is a number

Errors: TS001 not a hypertable, 42501 for its owner alone, 22023 until is no such time, 55P03 a lock was not to be had.$$;

create or replace function tidemill._now_units(time_type regtype) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  units bigint;
begin
  execute 'select ' || tidemill._time_units(time_type, format('pg_catalog.now()::%s', time_type)) into units;
  return units;
end
$$;
comment on function tidemill._now_units is 'The time of this transaction, counted; a clock without a zone is the session''s.';

create or replace function tidemill._countable(time_type regtype, time_column name) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Infinite times, those that microseconds since 1970 cannot count, and the last of the big numbers stay in the default partition.
  select case
    when time_type in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) then format(
      'pg_catalog.isfinite(%1$I) and %1$I operator(pg_catalog.<) ''290000-01-01''::%2$s', time_column, time_type)
    when time_type = 'int8'::regtype then format(
      '%1$I operator(pg_catalog.>) -9000000000000000000 and %1$I operator(pg_catalog.<) 9000000000000000000', time_column)
    else 'true' end
$$;
comment on function tidemill._countable is 'SQL that is true for times that can be in a chunk.';
