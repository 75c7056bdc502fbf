-- Where the search path has it, else beside the hypertable, else beside its rows.
with sought as (
  select pg_catalog.to_regclass(%(staging)s::pg_catalog.text) as on_path, h.hypertable_schema as beside, h.rows_schema
  from tidemill.hypertables h
  where h.id operator(pg_catalog.=) %(id)s::integer),
found as (
  select s.*, case
    when s.on_path is not null then s.on_path
    -- With a dot in it, it says itself in which schema.
    when pg_catalog.strpos(%(staging)s::pg_catalog.text, '.') operator(pg_catalog.=) 0 then coalesce(
      pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(s.beside), '.', %(staging)s::pg_catalog.text)),
      pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(s.rows_schema), '.', %(staging)s::pg_catalog.text)))
    end::pg_catalog.oid as oid
  from sought s)
select f.oid, array[f.beside::pg_catalog.text, f.rows_schema::pg_catalog.text] as schemas,
  case when f.on_path is null and k.oid is not null then pg_catalog.format('%%I.%%I', n.nspname, k.relname) end as elsewhere
from found f
left join pg_catalog.pg_class k on k.oid operator(pg_catalog.=) f.oid
left join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) k.relnamespace
