-- The totals of tidemill.chunk_compression_stats, without a look at chunks that others may lock.
select pg_catalog.sum(c.bytes_before_heap operator(pg_catalog.+) c.bytes_before_index
    operator(pg_catalog.+) c.bytes_before_toast)::pg_catalog.int8 as bytes_before,
  pg_catalog.sum(p.heap operator(pg_catalog.+) p.index operator(pg_catalog.+) p.toast)::pg_catalog.int8 as bytes_after
from tidemill._hypertables h
cross join lateral tidemill._packed_bytes(h) p
join tidemill._chunks c on c.hypertable_id operator(pg_catalog.=) h.id and c.number operator(pg_catalog.=) p.number
where h.id operator(pg_catalog.=) %(id)s::integer and c.is_compressed
  and c.number operator(pg_catalog.=) any(%(numbers)s::pg_catalog.int4[])
