-- The default partition is the last one. Bounds that are no whole numbers are on the clock of UTC.
select s.relation::pg_catalog.oid as oid,
  coalesce(c.chunk_name, k.relname) as chunk, coalesce(c.chunk_schema, n.nspname) as chunk_schema, s.number,
  coalesce(pg_catalog.timezone('UTC', c.range_start)::pg_catalog.text, c.range_start_integer::pg_catalog.text) as range_start,
  coalesce(pg_catalog.timezone('UTC', c.range_end)::pg_catalog.text, c.range_end_integer::pg_catalog.text) as range_end,
  s.is_compressed, s.has_rows, s.rows, s.rows_estimated, s.packed_rows, s.bytes, s.packed_bytes, t.spcname as tablespace, s.note
from tidemill._chunk_states(%(id)s::integer) s
left join tidemill.chunks c
  on c.hypertable_id operator(pg_catalog.=) %(id)s::integer and c.number operator(pg_catalog.=) s.number
left join pg_catalog.pg_class k on k.oid operator(pg_catalog.=) s.relation::pg_catalog.oid
left join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) k.relnamespace
left join pg_catalog.pg_tablespace t on t.oid operator(pg_catalog.=) k.reltablespace
order by s.number is null, c.range_start, c.range_start_integer
