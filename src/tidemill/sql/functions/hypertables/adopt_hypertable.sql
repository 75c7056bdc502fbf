create or replace function tidemill.adopt_hypertable(relation regclass, if_not_exists boolean default false)
returns table (hypertable_id integer, created boolean)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables;
  c tidemill._chunks;
begin
  if relation is null then
    raise exception using errcode = '22023', message = 'relation cannot be NULL', hint = 'Name a partitioned table.';
  end if;
  perform tidemill._expect_read_committed();
  h := tidemill._known_hypertable(relation, if_not_exists);
  if h.id is not null then
    return query select h.id, false;
    return;
  end if;
  perform tidemill._check_owner(relation);
  h.time_column := tidemill._check_is_range_partitioned(relation);
  execute format('lock table only %s in access exclusive mode', relation);
  h.rows_table := relation;
  h.time_type := tidemill._check_time_column(relation, h.time_column);
  perform tidemill._check_outside(relation);
  perform tidemill._check_partitions(h);
  h.chunk_width := tidemill._adopted_width(h);
  h.chunks_schema := tidemill._chunks_schema(relation);
  perform tidemill._require_times(h);
  insert into tidemill._hypertable_requests as q (h, verb) values (h, 'keep h') returning (q.h).id into h.id;
  c.hypertable_id := h.id;
  for c.relation, c.range_start, c.range_end in
    select b.partition, b.range_start, b.range_end from tidemill._range_partitions(h) b
    where b.range_start is not null order by b.range_start
  loop
    insert into tidemill._hypertable_requests (c, verb) values (c, 'keep c');
  end loop;
  if tidemill._default_partition(h) is null then
    perform tidemill._make_default(h, coalesce(c.relation, relation));
  end if;
  perform tidemill._note_hypertable_act(h, 'adopt_hypertable', null, jsonb_build_object('time_column', h.time_column));
  perform tidemill._add_chunks_policy(h);
  return query select h.id, true;
end
$$;
comment on function tidemill.adopt_hypertable is
$$Makes a hypertable of a table that is partitioned by time already. Its partitions become chunks where they are: no row moves.

They keep their names, schemas and bounds. A default partition is kept, or made. An action makes chunks ahead of time, and for
rows of the default partition: in the schema of the table's schema and "_chunks", as wide as most partitions are. It waits 5
seconds for the lock, and holds it to the end of the transaction.

relation       a table that is partitioned by the range of one column, of a type that create_hypertable takes
if_not_exists  a table that is a hypertable already is told by a NOTICE, and returned with created = false

Errors: TS110 it is a hypertable already, 0A000 it or a partition is or has what cannot be adopted (each with what to do),
42501 for its owner alone, or no schema for the chunks, 42804 the column is no time, 42809 it is no table, 22023 a NULL,
23502 a row without a time, 25001 a transaction that may not see all there is, 55P03 the lock was not to be had.$$;

create or replace function tidemill._check_is_range_partitioned(relation regclass) returns name
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  r pg_class;
  p pg_partitioned_table;
  what text;
  remedy text;
begin
  select c.* into r from pg_class c where c.oid = relation;
  select t.* into p from pg_partitioned_table t where t.partrelid = relation;
  if r.relkind = 'r' then
    what := 'not partitioned';
    remedy := 'Make it a hypertable with create_hypertable.';
  elsif r.relkind <> 'p' then
    raise exception using errcode = '42809', message = format('"%s" is not a partitioned table', r.relname), hint = 'Name a table.';
  elsif r.relispartition then
    what := format('a partition of "%s"', (select i.inhparent::regclass from pg_inherits i where i.inhrelid = relation));
    remedy := 'Detach it before, or adopt the whole table where that is partitioned by time.';
  elsif r.relpersistence <> 'p' then
    what := 'not a permanent table';
    remedy := 'Make a permanent table of its shape, and copy its rows into that.';
  elsif p.partstrat <> 'r' then
    what := format('partitioned by %s', case p.partstrat when 'h' then 'hash' else 'list' end);
    remedy := 'Make a table of its shape, copy its rows into that, and call create_hypertable.';
  elsif p.partnatts > 1 then
    what := format('partitioned by %s columns', p.partnatts);
    remedy := 'Make a table of its shape, copy its rows into that, and call create_hypertable.';
  elsif p.partattrs[0] = 0 then
    what := format('partitioned by the expression %s', pg_get_expr(p.partexprs, relation));
    remedy := 'Make a table of its shape with a column that is the time, copy its rows into that, and call create_hypertable.';
  elsif not exists (select from pg_opclass o where o.oid = p.partclass[0] and o.opcdefault) then
    what := format('partitioned by an operator class of its own, %s',
      (select o.opcname from pg_opclass o where o.oid = p.partclass[0]));
    remedy := 'Make a table of its shape, copy its rows into that, and call create_hypertable.';
  elsif exists (select from pg_rewrite w where w.ev_class = relation) then
    what := format('a table with the rule "%s"', (select w.rulename from pg_rewrite w where w.ev_class = relation limit 1));
    remedy := 'Drop the rule, or write a trigger in its place.';
  end if;
  if what is not null then
    raise exception using errcode = '0A000', message = format('"%s" is %s, and cannot be adopted', r.relname, what), hint = remedy;
  end if;
  return (select a.attname from pg_attribute a where a.attrelid = relation and a.attnum = p.partattrs[0]);
end
$$;
comment on function tidemill._check_is_range_partitioned is
  'The column by whose range a table is partitioned. Errors: 0A000 it is partitioned otherwise, or not; 42809 it is no table.';

create or replace function tidemill._check_partitions(h tidemill._hypertables) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  p record;
  remedy text;
begin
  -- Rows are proved to come back by the image of all their columns, which has an order.
  select r.oid::regclass as partition, w.what into p
    from pg_inherits i
    join pg_class r on r.oid = i.inhrelid
    cross join lateral (select case
      when i.inhdetachpending then 'is being detached'
      when r.relkind = 'p' then 'is partitioned itself'
      when r.relkind = 'f' then 'is a foreign table'
      when r.relpersistence <> 'p' then 'is unlogged'
      when r.relowner <> (select t.relowner from pg_class t where t.oid = h.rows_table)
        then format('belongs to the role %s', r.relowner::regrole)
      when exists (select from pg_rewrite e where e.ev_class = r.oid) then 'has a rule'
      when array(select c.name from tidemill._columns(r.oid) c) <> array(select c.name from tidemill._columns(h.rows_table) c)
        then 'has its columns in another order'
      -- Of packed rows only the table's own are kept.
      when exists (select from pg_index x where x.indrelid = r.oid and (x.indisunique or x.indisexclusion)
                   and not exists (select from pg_inherits n where n.inhrelid = x.indexrelid))
        then 'has a unique index of its own'
      when exists (select from pg_constraint f where f.conrelid = r.oid and f.contype = 'f' and f.conparentid = 0)
        then 'has a foreign key of its own'
    end) w(what)
    where i.inhparent = h.rows_table and w.what is not null
    order by 1 limit 1;
  if found then
    remedy := case p.what
      when 'is being detached' then format('Run: alter table %s detach partition %s finalize', h.rows_table, p.partition)
      when 'is unlogged' then format('Run: alter table %s set logged', p.partition)
      when 'has a rule' then 'Drop the rule.'
      when 'has a unique index of its own' then format('Drop it, or make it on %s, with %I in its key.', h.rows_table, h.time_column)
      when 'has a foreign key of its own' then format('Drop it, or make it on %s.', h.rows_table)
      when 'is partitioned itself' then 'Put its rows into one table, and attach that in its place.'
      when 'is a foreign table' then 'Detach it, and query it beside the hypertable.'
      when 'has its columns in another order'
        then format('Copy its rows into a table that is made with (like %s), and attach that in its place.', h.rows_table)
      else format('Run: alter table %s owner to %s', p.partition, (select t.relowner::regrole from pg_class t where t.oid = h.rows_table))
    end;
    raise exception using errcode = '0A000',
      message = format('the partition "%s" %s, and cannot be adopted', p.partition, p.what), hint = remedy;
  end if;
  perform tidemill._check_outside(i.inhrelid) from pg_inherits i where i.inhparent = h.rows_table;
  select b.* into p from tidemill._range_partitions(h) b where b.range_start >= b.range_end limit 1;
  if found then
    raise exception using errcode = '0A000', message = format('the partition "%s" is for infinite times alone', p.partition),
      hint = 'Detach it: such rows are kept in the default partition.';
  end if;
end
$$;
comment on function tidemill._check_partitions is 'Raises 0A000 if a partition cannot be a chunk as it is.';

create or replace function tidemill._range_partitions(
  h tidemill._hypertables, out partition regclass, out range_start bigint, out range_end bigint) returns setof record
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO, YMD'
as $$
declare
  bounds text[];
  bound text;
begin
  for partition, bound in
    select r.oid::regclass, pg_get_expr(r.relpartbound, r.oid) from pg_inherits i join pg_class r on r.oid = i.inhrelid
    where i.inhparent = h.rows_table
  loop
    -- Values of these types have no parentheses, and there is one on each side.
    bounds := regexp_match(bound, E'^FOR VALUES FROM \\((.*)\\) TO \\((.*)\\)$');
    range_start := tidemill._bound_units(h.time_type, bounds[1]);
    range_end := tidemill._bound_units(h.time_type, bounds[2]);
    return next;
  end loop;
end
$$;
comment on function tidemill._range_partitions is 'The partitions of a table with their bounds, counted; NULL for the default partition.';

create or replace function tidemill._bound_units(time_type regtype, bound text) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  literal constant text := trim(bound, '''');
  units bigint;
begin
  if time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) and literal not in ('MINVALUE', 'MAXVALUE') then
    return literal::bigint;
  elsif literal in ('MINVALUE', '-infinity') then
    return case time_type when 'int2'::regtype then -32768 when 'int4'::regtype then -2147483648
      when 'int8'::regtype then -9223372036854775808 else -210866803200000000 end;
  end if;
  if literal not in ('MAXVALUE', 'infinity') then
    execute format('select %s from (select %L::%s) b(at) where %s', tidemill._time_units(time_type, 'b.at'), literal, time_type,
      tidemill._countable(time_type, 'at')) into units;
  end if;
  return case when bound is not null then coalesce(units, 9223372036854775807) end;
end
$$;
comment on function tidemill._bound_units is
  'A bound as the catalogue has it, counted; where there is none, or it cannot be counted, the first or last number of the type.';

create or replace function tidemill._adopted_width(h tidemill._hypertables) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Of those with two bounds. Months differ, and so do days where the clocks change.
  select coalesce(
    (select p.range_end - p.range_start
     from tidemill._range_partitions(h) p
     where p.range_start > tidemill._bound_units(h.time_type, 'MINVALUE') and p.range_end < 9223372036854775807
     group by 1 order by count(*) desc, max(p.range_end) desc limit 1),
    tidemill._chunk_width(h.time_type, null, null))
$$;
comment on function tidemill._adopted_width is 'How wide most partitions are, and of several such widths that of the newest; else the default.';

create or replace function tidemill._require_times(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  rest constant regclass := tidemill._default_partition(h);
  timeless bigint;
begin
  if (select a.attnotnull from pg_attribute a where a.attrelid = h.rows_table and a.attname = h.time_column) then
    return;
  end if;
  if rest is not null then
    -- No other partition can have such rows.
    execute format('select pg_catalog.count(*) from only %s where %I is null', rest, h.time_column) into timeless;
    if timeless > 0 then
      raise exception using errcode = '23502',
        message = format('%s rows of "%s" have no "%s"', timeless, rest, h.time_column),
        hint = format('Find them with: select * from %s where %I is null', rest, h.time_column);
    end if;
  end if;
  execute format('alter table %s alter column %I set not null', h.rows_table, h.time_column);
end
$$;
comment on function tidemill._require_times is 'Makes the time NOT NULL. Error: 23502 rows have none.';
