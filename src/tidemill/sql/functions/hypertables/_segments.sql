-- Segments: up to a thousand rows of a chunk in one row. All segments of a hypertable stand in one table, which has a
-- partition for each tablespace. The columns of segmentby stand there as they are, so that its index finds them. Of any
-- other column a segment has an array of its values, or what stands for them: see _encodings.sql.

create or replace function tidemill._columns(relation regclass)
returns table (
  name name, type text, plain_type text, collate_as text, family text, is_generated boolean, is_identity boolean,
  is_given boolean, is_required boolean, default_expression text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select a.attname, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, null),
         case when a.attcollation <> t.typcollation then format(' collate %I.%I', n.nspname, l.collname) else '' end,
         case
           -- An array of arrays must be a rectangle, so these are packed as text.
           when t.typcategory = 'A' or t.typarray = 0 then 'text'
           when a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then 'integer'
           when a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) then 'time'
           when a.atttypid in ('float4'::regtype, 'float8'::regtype) then 'float'
           when a.atttypid = 'numeric'::regtype then 'numeric'
           -- Of these, equal values look the same.
           when (t.typtype = 'e' or a.atttypid in ('text'::regtype, 'varchar'::regtype, 'bool'::regtype, 'uuid'::regtype,
               'bytea'::regtype, 'inet'::regtype, 'macaddr'::regtype))
             and coalesce(l.collisdeterministic, true) then 'word'
           else 'plain' end,
         a.attgenerated <> '', a.attidentity <> '', a.attgenerated = '' and a.attidentity <> 'a', a.attnotnull,
         case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  left join pg_collation l on l.oid = a.attcollation
  left join pg_namespace n on n.oid = l.collnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
  order by a.attnum
$$;
comment on function tidemill._columns is 'The columns of a table in their order. family: how they are packed; is_given: an UPDATE may set them.';

create or replace function tidemill._create_segments(h tidemill._hypertables) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  segments constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_segments', h.id));
  own_place constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_segments_0', h.id));
  by_segment constant text := (select coalesce(string_agg(format('%I, ', s), ''), '') from unnest(h.segmentby) s);
begin
  execute format('create table %s (%s) partition by list (_place)', segments, tidemill._columns_of_segments(h));
  perform tidemill._keep_words_in_line(segments::regclass, c.name) from tidemill._columns(h.rows_table) c
    where c.family in ('word', 'text') and c.name <> all(h.segmentby);
  execute format('create index on %s (%s_first)', segments, by_segment);
  execute format('create index on %s (%s_last)', segments, by_segment);
  execute format('create index on %s (_chunk)', segments);
  execute format('create table %s partition of %s for values in (%L)', own_place, segments, '');
  perform tidemill._revoke_from_others(r::regclass) from unnest(array[segments, own_place]) r;
  execute format('comment on table %s is %L', segments, format(
    'Packed rows of the hypertable %s: a row for each thousand. Made and written by Tidemill.', h.rows_table));
  return segments;
end
$$;
comment on function tidemill._create_segments is 'Creates the table of segments of a hypertable.';

create or replace function tidemill._match_foreign_keys(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  k record;
begin
  for k in
    with keys as (
      select c.conrelid, c.conname, pg_get_constraintdef(c.oid) as definition from pg_constraint c
      where c.contype = 'f' and c.conparentid = 0
        and (c.conrelid = h.segments or c.conrelid = h.rows_table and tidemill._is_of_segments(h, c.conkey)))
    select s.conname as old, r.conname as new, r.definition
    from (select * from keys where conrelid = h.segments) s
    full join (select * from keys where conrelid = h.rows_table) r using (conname, definition)
    where s.conname is null or r.conname is null
    -- A key that was changed is dropped before it is added.
    order by r.conname is not null
  loop
    if k.new is null then
      execute format('alter table %s drop constraint %I', h.segments, k.old);
    else
      execute format('alter table %s add constraint %I %s', h.segments, k.new, k.definition);
    end if;
  end loop;
end
$$;
comment on function tidemill._match_foreign_keys is 'Gives the segments the foreign keys on columns of segmentby that their rows have by now.';

create or replace function tidemill._drop_segments(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  made regprocedure;
begin
  -- By their names: the policies of a table that was dropped may all be about to do it.
  execute format('drop table if exists %I.%I', h.chunks_schema, format('_hyper_%s_segments', h.id));
  for made in
    select p.oid from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = h.chunks_schema and p.proname ~ format('^_hyper_%s_[a-z_]+$', h.id)
  loop
    execute format('drop function if exists %s', made);
  end loop;
end
$$;
comment on function tidemill._drop_segments is 'Drops the segments of a hypertable, and the functions that were made for them.';

create or replace function tidemill._columns_of_segments(h tidemill._hypertables) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('_place text not null, _chunk integer not null, _first %1$s not null, _last %1$s not null, _rows integer not null, %2$s',
    format_type(h.time_type, null),
    string_agg(
      case when c.name = any(h.segmentby)
        then format('%I %s%s%s', c.name, c.type, c.collate_as, case when c.is_required then ' not null' end)
        else tidemill._segment_columns(c.name, c.type, c.collate_as, c.family) end, ', '))
  from tidemill._columns(h.rows_table) c
$$;

create or replace function tidemill._segments_where(h tidemill._hypertables, condition text default '') returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- A function that only the leader may call. Otherwise processes are started to unpack the rows, each row is sent between
  -- them, which takes longer, and the planner takes all rows for a thousand.
  select h.segments || ' where pg_backend_pid() > 0' || coalesce(' and ' || nullif(condition, ''), '')
$$;
comment on function tidemill._segments_where is 'The segments of a hypertable as queries read them.';

create or replace function tidemill._has_place(h tidemill._hypertables, place text) returns boolean
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_inherits i join pg_class r on r.oid = i.inhrelid
    where i.inhparent = h.segments and pg_get_expr(r.relpartbound, r.oid) = format('FOR VALUES IN (%L)', place))
$$;
comment on function tidemill._has_place is 'Whether the segments have a partition for a tablespace.';

create or replace function tidemill._place(c tidemill._chunks) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select t.spcname::text from pg_class r join pg_tablespace t on t.oid = r.reltablespace where r.oid = c.relation), '')
$$;
comment on function tidemill._place is 'The tablespace of a chunk, empty for the database''s own: there its segments stand, too.';

create or replace function tidemill._make_place(h tidemill._hypertables, place text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  made text;
begin
  if h.segments is null or tidemill._has_place(h, place) then
    return;
  end if;
  -- Two sessions may come to it together. First the table and then the segments, as readers and inserts do: these wait
  -- until this transaction ends.
  execute format('lock table only %s in access exclusive mode', h.rows_table);
  execute format('lock table only %s in access exclusive mode', h.segments);
  if not tidemill._has_place(h, place) then
    made := format('%I.%I', h.chunks_schema,
      format('_hyper_%s_segments_%s', h.id, (select count(*) from pg_inherits i where i.inhparent = h.segments)));
    execute format('create table %s partition of %s for values in (%L) tablespace %I', made, h.segments, place, place);
    perform tidemill._revoke_from_others(made::regclass);
  end if;
end
$$;
comment on function tidemill._make_place is 'Makes the partition of the segments for a tablespace, if there is none. For before anything of the hypertable is locked.';

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
               where c.name not in ('_place', '_chunk', '_first', '_last', '_rows') and strpos(c.name, '~') = 0) s using (name)
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
