create or replace function tidemill.hypertable_compression_stats(hypertable regclass)
returns table (
  total_chunks bigint, number_compressed_chunks bigint,
  before_compression_table_bytes bigint, before_compression_index_bytes bigint,
  before_compression_toast_bytes bigint, before_compression_total_bytes bigint,
  after_compression_table_bytes bigint, after_compression_index_bytes bigint,
  after_compression_toast_bytes bigint, after_compression_total_bytes bigint, node_name name)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select count(*), count(*) filter (where s.compression_status = 'Compressed'),
    sum(s.before_compression_table_bytes)::bigint, sum(s.before_compression_index_bytes)::bigint,
    sum(s.before_compression_toast_bytes)::bigint, sum(s.before_compression_total_bytes)::bigint,
    sum(s.after_compression_table_bytes)::bigint, sum(s.after_compression_index_bytes)::bigint,
    sum(s.after_compression_toast_bytes)::bigint, sum(s.after_compression_total_bytes)::bigint, null::name
  from tidemill.chunk_compression_stats(hypertable) s
$$;
comment on function tidemill.hypertable_compression_stats is
$$What the packed rows of a hypertable took before they were packed, and what they take now, in bytes: the sums of
chunk_compression_stats. NULL while no chunk is compressed.

hypertable  the hypertable

Errors: TS001 no hypertable, 42501 the caller may not read its packed rows. Columns are those of TimescaleDB's function of
that name.$$;
