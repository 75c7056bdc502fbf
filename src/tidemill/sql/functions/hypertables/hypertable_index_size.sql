create or replace function tidemill.hypertable_index_size(index_name regclass) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if index_name is not null and not exists (
    select from pg_index i join tidemill._hypertables h on h.rows_table = i.indrelid where i.indexrelid = index_name)
  then
    raise exception using errcode = '42704', message = format('"%s" is not an index of a hypertable', index_name),
      hint = 'Name one that stands on the hypertable itself, which those of its chunks belong to.';
  end if;
  return (select sum(pg_relation_size(p.relid))::bigint from pg_partition_tree(index_name) p where p.isleaf);
end
$$;
comment on function tidemill.hypertable_index_size is
$$What an index of a hypertable takes on the disk, in bytes: in all its chunks. Packed rows are not in it.

index_name  an index of the hypertable

NULL for NULL. Error: 42704 it is none. Behaviour follows TimescaleDB's function of that name.$$;
