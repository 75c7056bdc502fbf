-- What the rows of a hypertable take on the disk.

create or replace function tidemill._lock_segments(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  odd text;
begin
  -- So that none becomes another between the look and the reading.
  execute format('lock table %s in access share mode', h.segments);
  -- PostgreSQL computes constant parts of expressions for whoever plans a query, so none may stand there either.
  with tables as (
    select r.* from pg_class r
    where r.oid = h.segments or r.oid in (select p.relid from pg_partition_tree(h.segments) p))
  select min(o.what) into odd
    from (
      select format('"%s" is no table', t.oid::regclass) as what from tables t where t.relkind not in ('p', 'r')
      union all
      select format('"%s" has row level security', t.oid::regclass) from tables t where t.relrowsecurity
      union all
      select format('the column "%s" of "%s" has another type', a.attname, t.oid::regclass)
        from tables t join pg_attribute a on a.attrelid = t.oid
        where a.attname in ('_chunk', '_rows') and not a.attisdropped and a.atttypid <> 'integer'::regtype
      union all
      select format('the column "%s" of "%s" is computed', a.attname, t.oid::regclass)
        from tables t join pg_attribute a on a.attrelid = t.oid where a.attgenerated <> ''
      union all
      select format('"%s" has the constraint "%s"', t.oid::regclass, k.conname)
        from tables t join pg_constraint k on k.conrelid = t.oid where k.contype = 'c'
      union all
      select format('"%s" has the index "%s" with an expression', t.oid::regclass, i.indexrelid::regclass)
        from tables t join pg_index i on i.indrelid = t.oid where i.indexprs is not null or i.indpred is not null
      union all
      select format('"%s" has the statistics "%s" with an expression', t.oid::regclass, x.stxname)
        from tables t join pg_statistic_ext x on x.stxrelid = t.oid where x.stxexprs is not null
      union all
      select format('"%s" is partitioned by an expression', t.oid::regclass)
        from tables t join pg_partitioned_table p on p.partrelid = t.oid where p.partexprs is not null
    ) o;
  if odd is not null then
    raise exception using errcode = '42809',
      message = format('the segments of hypertable "%s" are not as Tidemill made them: %s', h.rows_table, odd),
      hint = 'Their owner may have changed them. Undo that.';
  end if;
end
$$;
comment on function tidemill._lock_segments is
$$Locks the segments of a hypertable for reading by somebody who is not their owner. Volatile, since it locks.

Error: 42809 reading them might run code of their owner with the reader's rights.$$;

create or replace function tidemill._chunk_bytes(relation regclass, out heap bigint, out index bigint, out toast bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select pg_table_size(c.oid) - t.bytes, pg_indexes_size(c.oid), t.bytes
  from pg_class c
  cross join lateral (select coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)) t(bytes)
  where c.oid = relation
$$;
comment on function tidemill._chunk_bytes is
  'What a table or partition takes on the disk: itself, its indexes, and its long values with their index.';

create or replace function tidemill._packed_bytes(h tidemill._hypertables)
returns table (number integer, rows bigint, heap bigint, index bigint, toast bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if h.segments is null then
    return;
  end if;
  perform tidemill._lock_segments(h);
  -- Of each column alone: the size of a row as one value would be that of its long values when they are unpacked.
  return query execute format($packed$
    with stored as (
      select s.tableoid as place, s._chunk as number, sum(s._rows) as rows, sum(%s)::numeric as bytes
      from %s s group by s.tableoid, s._chunk),
    shares as (
      select t.place, t.number, t.rows, t.bytes / sum(t.bytes) over (partition by t.place) as share from stored t)
    select p.number, sum(p.rows)::bigint, sum(round(p.share * b.heap))::bigint, sum(round(p.share * b.index))::bigint,
           sum(round(p.share * b.toast))::bigint
    from shares p cross join lateral tidemill._chunk_bytes(p.place) b
    group by p.number$packed$,
    (select string_agg(format('coalesce(pg_column_size(s.%I), 0)', a.attname), ' + ') from pg_attribute a
     where a.attrelid = h.segments and a.attnum > 0 and not a.attisdropped),
    h.segments);
end
$$;
comment on function tidemill._packed_bytes is
$$How many rows of each chunk are packed, and what these take: a share of the table of segments, with its indexes and TOAST, in proportion to the
stored bytes of the chunk's segments.

The segments of all chunks stand in one table, so only its whole size is that of files. With shares the chunks add up to it.
The bytes of the values alone would leave out indexes, headers and free space, and flatter the ratio.$$;

create or replace function tidemill._chunk_sizes(hypertable regclass)
returns table (
  c tidemill._chunks, before_heap bigint, before_index bigint, before_toast bigint,
  heap bigint, index bigint, toast bigint, packed_heap bigint, packed_index bigint, packed_toast bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Once, not for each chunk.
  with packed as materialized (
    select p.* from tidemill._hypertable(hypertable) h cross join lateral tidemill._packed_bytes(h) p)
  select c,
    case when c.is_compressed then c.bytes_before_heap end,
    case when c.is_compressed then c.bytes_before_index end,
    case when c.is_compressed then c.bytes_before_toast end,
    b.heap, b.index, b.toast,
    case when c.is_compressed then coalesce(p.heap, 0) end,
    case when c.is_compressed then coalesce(p.index, 0) end,
    case when c.is_compressed then coalesce(p.toast, 0) end
  from tidemill._hypertable(hypertable) h
  join tidemill._chunks c on c.hypertable_id = h.id
  cross join lateral tidemill._chunk_bytes(c.relation) b
  left join packed p on p.number = c.number
  order by c.range_start
$$;
comment on function tidemill._chunk_sizes is
  'For each chunk: what its packed rows took before, what its partition takes, and what its packed rows take.';

create or replace function tidemill._count_packed(h tidemill._hypertables, c tidemill._chunks) returns tidemill._chunks
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  packed bigint;
begin
  execute format('select coalesce(sum(s._rows), 0) from %s s where s._chunk = %s', h.segments, c.number) into packed;
  if c.is_compressed and c.packed_rows > 0 then
    -- Rows that came later take as much as the others took.
    c.bytes_before_heap := round(c.bytes_before_heap * (packed::numeric / c.packed_rows));
    c.bytes_before_index := round(c.bytes_before_index * (packed::numeric / c.packed_rows));
    c.bytes_before_toast := round(c.bytes_before_toast * (packed::numeric / c.packed_rows));
  end if;
  c.packed_rows := packed;
  return c;
end
$$;
comment on function tidemill._count_packed is
  'A chunk after it was packed, with the number of its packed rows, and what those would have taken. To be kept by the caller.';
