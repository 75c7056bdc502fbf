create or replace function tidemill.by_hash(
  column_name name,
  number_partitions integer,
  partition_func regproc default null
) returns tidemill.dimension_info
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._refuse_argument('by_hash', true,
    'Cut by time alone, with by_range; an index that begins with the column finds its rows, and segmentby of enable_compression packed ones.');
end
$$;
comment on function tidemill.by_hash is 'Always raises 0A000: chunks are cut by time alone. Use tidemill.by_range.';
