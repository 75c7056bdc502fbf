create or replace function tidemill.chunks_detailed_size(hypertable regclass)
returns table (
  chunk_schema name, chunk_name name, table_bytes bigint, index_bytes bigint, toast_bytes bigint, total_bytes bigint,
  node_name name)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select n.nspname, k.relname, b.heap, b.index, b.toast, b.heap + b.index + b.toast, null::name
  from tidemill._chunk_sizes(hypertable) s
  join pg_class k on k.oid = (s.c).relation
  join pg_namespace n on n.oid = k.relnamespace
  cross join lateral (select
    s.heap + coalesce(s.packed_heap, 0), s.index + coalesce(s.packed_index, 0), s.toast + coalesce(s.packed_toast, 0)
  ) b(heap, index, toast)
  order by (s.c).range_start
$$;
comment on function tidemill.chunks_detailed_size is
$$What each chunk of a hypertable takes on the disk, in bytes: as hypertable_detailed_size. Packed rows take their share of the
table that they stand in; so the chunks and the default partition add up to the hypertable.

hypertable  the hypertable

Errors: TS001 no hypertable, 42501 the caller may not read its packed rows. Columns are those of TimescaleDB's function of
that name.$$;
