create or replace function tidemill.approximate_row_count(relation regclass) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables;
  packed bigint := 0;
begin
  select i.* into h from tidemill._hypertables i where relation in (i.rows_table, i.view);
  if h.segments is not null then
    perform tidemill._lock_segments(h);
    execute format('select coalesce(sum(s._rows), 0) from %s s', h.segments) into packed;
  end if;
  return packed + (
    select coalesce(sum(
        -- Without ANALYZE there is only what was counted while rows came and went. A chunk that was packed has few rows
        -- now, and what ANALYZE saw before may be many.
        case when k.reltuples < 0 or c.is_compressed then pg_stat_get_live_tuples(k.oid) else k.reltuples end), 0)::bigint
    from (select p.relid from pg_partition_tree(coalesce(h.rows_table, relation)) p where p.isleaf
          union select coalesce(h.rows_table, relation)) t
    join pg_class k on k.oid = t.relid and k.relkind in ('r', 'm')
    left join tidemill._chunks c on c.relation = k.oid);
end
$$;
comment on function tidemill.approximate_row_count is
$$About how many rows a table has, in a moment: by the last ANALYZE of each partition, and where there was none by the server's
counters. Packed rows are counted exactly.

relation  a hypertable, or any other table

Errors: 42501 the caller may not read its packed rows, 42809 their owner changed the table of them.
Behaviour follows TimescaleDB's function of that name.$$;
