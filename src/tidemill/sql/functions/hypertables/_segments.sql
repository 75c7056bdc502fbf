-- Segments: up to a thousand rows of a chunk in one row, an array for each column. All segments of a hypertable stand in
-- one table. The columns of segmentby stand there as they are, so that its index finds them.

create or replace function tidemill._columns(relation regclass)
returns table (
  name name, type text, is_array boolean, is_generated boolean, is_identity boolean, is_required boolean,
  default_expression text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select a.attname, format_type(a.atttypid, a.atttypmod),
         -- An array of arrays must be a rectangle, so these are packed as text.
         t.typcategory = 'A' or t.typarray = 0,
         a.attgenerated <> '', a.attidentity <> '', a.attnotnull,
         case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
  order by a.attnum
$$;
comment on function tidemill._columns is 'The columns of a table in their order.';

create or replace function tidemill._decoded(h tidemill._hypertables, source text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Outside of the set-returning functions the planner drops what a query does not use.
  select format('select %s from (select %s, generate_series(1, _rows) as _row from %s) _packed',
    string_agg(case when c.is_array and c.name <> all(h.segmentby) then format('_packed.%1$I::%2$s as %1$I', c.name, c.type)
                    else format('_packed.%I', c.name) end, ', '),
    string_agg(case when c.name = any(h.segmentby) then format('%I', c.name)
                    else format('unnest(%1$I) as %1$I', c.name) end, ', '),
    source)
  from tidemill._columns(h.rows_table) c
$$;
comment on function tidemill._decoded is 'A query for the rows that are packed in a source, which has the columns of the segments.';

create or replace function tidemill._create_segments(h tidemill._hypertables) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  segments constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_segments', h.id));
begin
  execute format('create table %s (_chunk integer not null, _first %s not null, _last %2$s not null, _rows integer not null, %s)',
    segments, format_type(h.time_type, null),
    (select string_agg(format('%I %s', c.name, case
              when c.name = any(h.segmentby) then c.type || case when c.is_required then ' not null' else '' end when c.is_array then 'text[]' else c.type || '[]' end), ', ')
       from tidemill._columns(h.rows_table) c));
  execute format('create index on %s (%s_first)', segments,
    (select string_agg(format('%I, ', s), '') from unnest(h.segmentby) s));
  execute format('create index on %s (_chunk)', segments);
  execute format('comment on table %s is %L', segments, format(
    'Packed rows of the hypertable %s: a row for each thousand. Made and written by Tidemill.', h.rows_table));
  return segments;
end
$$;
comment on function tidemill._create_segments is 'Creates the table of segments of a hypertable.';

create or replace function tidemill._pack(h tidemill._hypertables, c tidemill._chunks) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
-- Some columns are packed as text, and are read under any settings.
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 1
as $$
declare
  images constant text := 'select count(*) as rows, sum(hashtextextended((r.*)::text, 0)::numeric) as images from';
  others constant name[] := array(select k.name from tidemill._columns(h.rows_table) k where k.name <> all(h.segmentby));
  segmentby constant text := (select coalesce(string_agg(format('%I, ', s), ''), '') from unnest(h.segmentby) s);
  -- Equal values may look different.
  grouped constant text := (select coalesce(string_agg(format('%1$I, %1$I::text, ', s), ''), '') from unnest(h.segmentby) s);
  before record;
  after record;
begin
  perform tidemill._check_columns(h);
  -- By their text: values that are equal may look different, as 1.0 and 1.00 do.
  execute format('%s only %s r', images, c.relation) into before;
  execute format($pack$
    with gone as (delete from only %1$s returning *),
    numbered as (
      select gone.*, row_number() over (partition by %10$s true order by %3$I) - 1 as _row from gone
    ),
    made as (
      insert into %4$s (_chunk, _first, _last, _rows, %2$s %5$s)
        select %6$s, min(%3$I), max(%3$I), count(*), %2$s %7$s
        from numbered group by %10$s _row / 1000
        returning *
    )
    %8$s (%9$s) r$pack$,
    c.relation, segmentby, h.time_column, h.segments,
    (select string_agg(quote_ident(o), ', ') from unnest(others) o), c.number,
    -- By the row's number: rows of the same time must not change places in one column alone.
    (select string_agg(format('array_agg(%I%s order by _row)', k.name, case when k.is_array then '::text' end), ', ')
       from tidemill._columns(h.rows_table) k where k.name = any(others)),
    images, tidemill._decoded(h, 'made'), grouped) into after;
  if after is distinct from before then
    raise exception using errcode = 'data_corrupted',
      message = format('the rows of chunk "%s" would not come back as they were, so they stay as they are', c.relation),
      hint = 'This is a fault of Tidemill: please report the types of its columns.';
  end if;
  return before.rows;
end
$$;
comment on function tidemill._pack is
$$Packs the rows that stand in a chunk's partition, and returns their number. Proves that they come back as they were.

Error: XX001 they would not.$$;

create or replace function tidemill._unpack(h tidemill._hypertables, c tidemill._chunks, which text default 'true')
returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  packed bigint;
  unpacked bigint;
begin
  perform tidemill._check_columns(h);
  execute format($unpack$
    with gone as (delete from %1$s s where s._chunk = %2$s and (%3$s) returning s.*),
    back as (insert into %4$s (%5$s) overriding system value select %5$s from (%6$s) _rows returning 1)
    select (select coalesce(sum(_rows), 0) from gone), (select count(*) from back)$unpack$,
    h.segments, c.number, which, c.relation, tidemill._stored_columns(h.rows_table), tidemill._decoded(h, 'gone'))
    into packed, unpacked;
  if unpacked <> packed then
    raise exception using errcode = 'data_corrupted',
      message = format('%s of %s packed rows of chunk "%s" came back, so they stay packed', unpacked, packed, c.relation),
      hint = 'Does a rule change what is inserted?';
  end if;
  return unpacked;
end
$$;
comment on function tidemill._unpack is
  'Brings the rows of a chunk''s segments back into its partition, of those segments s for which the condition holds; returns how many.';

create or replace function tidemill._check_columns(h tidemill._hypertables) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  misfit name;
begin
  select coalesce(t.name, s.name) into misfit
    from tidemill._columns(h.rows_table) t
    full join (select c.name from tidemill._columns(h.segments) c
               where c.name not in ('_chunk', '_first', '_last', '_rows')) s using (name)
    where t.name is null or s.name is null
    limit 1;
  if found then
    raise exception using errcode = '0A000',
      message = format('the column "%s" of %s was added, dropped or renamed after compression was enabled', misfit, h.rows_table),
      hint = 'Undo that: the packed rows have the columns of then.';
  end if;
end
$$;
comment on function tidemill._check_columns is 'Raises 0A000 if the rows no longer have the columns of the segments.';

create or replace function tidemill._without_triggers(relation regclass) returns text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  t record;
  back text := '';
begin
  for t in
    select tgname, tgenabled from pg_trigger where tgrelid = relation and not tgisinternal and tgenabled <> 'D'
  loop
    execute format('alter table %s disable trigger %I', relation, t.tgname);
    back := back || format('alter table %s enable %s trigger %I;', relation,
      case t.tgenabled when 'A' then 'always' when 'R' then 'replica' end, t.tgname);
  end loop;
  return back;
end
$$;
comment on function tidemill._without_triggers is
$$Switches the user's triggers on a partition off, since a row that is moved or packed is neither deleted nor added.

Returns the statements that switch them on again.$$;
