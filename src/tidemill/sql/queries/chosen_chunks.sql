-- As text the two limits may be of different kinds: a time, an interval, a number.
select s::pg_catalog.oid as oid
from tidemill.show_chunks((
    select k.oid::pg_catalog.regclass from tidemill.hypertables h
    join pg_catalog.pg_namespace n on n.nspname operator(pg_catalog.=) h.hypertable_schema
    join pg_catalog.pg_class k
      on k.relnamespace operator(pg_catalog.=) n.oid and k.relname operator(pg_catalog.=) h.hypertable_name
    where h.id operator(pg_catalog.=) %(id)s::integer),
  older_than => %(older_than)s::pg_catalog.text, newer_than => %(newer_than)s::pg_catalog.text) s
