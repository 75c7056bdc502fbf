-- None if there was nothing to pack: then this transaction has not emptied the chunk.
select c.packed_rows as rows
from tidemill._chunks c
where c.hypertable_id operator(pg_catalog.=) %(id)s::integer and c.number operator(pg_catalog.=) %(number)s::integer
  and c.emptied_by operator(pg_catalog.=) pg_catalog.pg_current_xact_id()
