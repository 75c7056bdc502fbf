create or replace function tidemill.chunk_compression_stats(hypertable regclass)
returns table (
  chunk_schema name, chunk_name name, compression_status text,
  before_compression_table_bytes bigint, before_compression_index_bytes bigint,
  before_compression_toast_bytes bigint, before_compression_total_bytes bigint,
  after_compression_table_bytes bigint, after_compression_index_bytes bigint,
  after_compression_toast_bytes bigint, after_compression_total_bytes bigint, node_name name)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select n.nspname, k.relname, case when (s.c).is_compressed then 'Compressed' else 'Uncompressed' end,
    s.before_heap, s.before_index, s.before_toast, s.before_heap + s.before_index + s.before_toast,
    s.packed_heap, s.packed_index, s.packed_toast, s.packed_heap + s.packed_index + s.packed_toast, null::name
  from tidemill._chunk_sizes(hypertable) s
  join pg_class k on k.oid = (s.c).relation
  join pg_namespace n on n.oid = k.relnamespace
  order by (s.c).range_start
$$;
comment on function tidemill.chunk_compression_stats is
$$What the packed rows of each chunk took before they were packed, and what they take now, in bytes. NULL for a chunk that is
not compressed.

hypertable  the hypertable

Before is what the chunk took when it was compressed; of rows that were packed later, in proportion to their number. After is
the chunk's share of the table of all packed rows, with its indexes and TOAST. Errors: TS001 no hypertable, 42501 the caller
may not read its packed rows. Columns are those of TimescaleDB's function of that name.$$;
