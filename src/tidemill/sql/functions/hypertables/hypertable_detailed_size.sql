create or replace function tidemill.hypertable_detailed_size(hypertable regclass)
returns table (table_bytes bigint, index_bytes bigint, toast_bytes bigint, total_bytes bigint, node_name name)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select sum(b.heap)::bigint, sum(b.index)::bigint, sum(b.toast)::bigint, sum(b.heap + b.index + b.toast)::bigint, null::name
  from tidemill._hypertable(hypertable) h
  cross join lateral tidemill._tables_of(h) t(relation)
  cross join lateral tidemill._chunk_bytes(t.relation) b
$$;
comment on function tidemill.hypertable_detailed_size is
$$What a hypertable takes on the disk, in bytes: its tables, its indexes, its long values (TOAST), and the sum, which is that
of hypertable_size. node_name is NULL.

hypertable  the hypertable

Error: TS001 no hypertable. Columns are those of TimescaleDB's function of that name.$$;
