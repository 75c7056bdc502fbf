-- Views alone, since a reader may have no more; they wait for no lock. A name is known with its schema and without,
-- quoted or not, and is that of the hypertable or of its table of rows.
select h.id, h.hypertable_schema, h.hypertable_name,
  pg_catalog.format('%%I.%%I', h.hypertable_schema, h.hypertable_name) as name, h.owner::pg_catalog.text as owner,
  h.compression_enabled, h.primary_dimension as time_column, h.primary_dimension_type::pg_catalog.text as time_type,
  coalesce(pg_catalog.ltrim(h.time_interval::pg_catalog.text, '@ '), h.integer_interval::pg_catalog.text)
    as chunk_width,
  h.num_chunks as chunks,
  (select pg_catalog.count(*) from tidemill.chunks c
   where c.hypertable_id operator(pg_catalog.=) h.id and c.is_compressed) as compressed_chunks
from tidemill.hypertables h
where %(word)s::pg_catalog.text is null
  or exists (
    select from (
      select h.hypertable_schema as schema_name, h.hypertable_name as table_name
      union all
      select h.rows_schema, h.rows_table) k
    where %(word)s operator(pg_catalog.=) any(array[
      k.table_name::pg_catalog.text, pg_catalog.quote_ident(k.table_name),
      pg_catalog.concat(k.schema_name, '.', k.table_name),
      pg_catalog.format('%%I.%%I', k.schema_name, k.table_name),
      pg_catalog.format('"%%s"."%%s"', k.schema_name, k.table_name)]))
order by h.hypertable_schema, h.hypertable_name
limit %(limit)s
