create or replace function tidemill.hypertable_size(hypertable regclass) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select sum(pg_total_relation_size(t.relation))::bigint
  from tidemill._hypertables h cross join lateral tidemill._tables_of(h) t(relation)
  where hypertable in (h.rows_table, h.view)
$$;
comment on function tidemill.hypertable_size is
$$What a hypertable takes on the disk, in bytes: chunks, default partition, packed rows, with indexes and long values.

hypertable  the hypertable

NULL for what is none. Behaviour follows TimescaleDB's function of that name.$$;

create or replace function tidemill._tables_of(h tidemill._hypertables) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.relid from pg_partition_tree(h.rows_table) p where p.isleaf
  union
  select h.segments where h.segments is not null
  union
  -- None, where the segments are no partitioned table.
  select p.relid from pg_partition_tree(h.segments) p where p.isleaf
$$;
comment on function tidemill._tables_of is 'The tables that have the rows of a hypertable: its partitions, and those of packed rows.';
