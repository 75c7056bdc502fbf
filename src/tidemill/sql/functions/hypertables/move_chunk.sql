create or replace function tidemill.move_chunk(
  chunk regclass,
  destination_tablespace name,
  index_destination_tablespace name default null,
  reorder_index regclass default null,
  verbose boolean default false
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  c tidemill._chunks := tidemill._owned_chunk(chunk);
  owner constant regrole := (select r.relowner from pg_class r where r.oid = chunk);
  index_tablespace constant name := coalesce(index_destination_tablespace, destination_tablespace);
  sorted_by regclass;
  i regclass;
begin
  perform tidemill._expect_read_committed();
  perform tidemill._check_tablespace(destination_tablespace, owner);
  perform tidemill._check_tablespace(index_tablespace, owner);
  -- It may be packed until it is locked.
  perform tidemill._make_place(h, case destination_tablespace
      when (select t.spcname from pg_tablespace t join pg_database d on d.dattablespace = t.oid
            where d.datname = current_database()) then '' else destination_tablespace end)
    from tidemill._hypertables h where h.id = c.hypertable_id;
  perform tidemill._lock_table(chunk, 'access exclusive');
  -- Only now it is known what others have packed.
  c := tidemill._owned_chunk(chunk);
  if reorder_index is not null and c.is_compressed then
    raise notice 'ignoring index parameter' using detail = format('The rows of chunk "%s" are packed.', chunk);
  elsif reorder_index is not null then
    sorted_by := tidemill._chunk_index(chunk, reorder_index);
  end if;
  if move_chunk.verbose then
    raise info 'moving chunk % to tablespace %, its indexes to %', chunk, destination_tablespace, index_tablespace;
  end if;
  if sorted_by is not null then
    execute format('cluster %s using %I', chunk, tidemill._bare_name(sorted_by));
  end if;
  execute format('alter table %s set tablespace %I', chunk, destination_tablespace);
  for i in select x.indexrelid from pg_index x where x.indrelid = chunk order by x.indexrelid loop
    execute format('alter index %s set tablespace %I', i, index_tablespace);
  end loop;
  if c.is_compressed then
    perform tidemill._place_segments(h, c) from tidemill._hypertables h where h.id = c.hypertable_id;
  end if;
  perform tidemill._note_hypertable_act(h, 'move_chunk', null, jsonb_build_object(
      'tablespace', destination_tablespace, 'index_tablespace', index_tablespace), chunk)
    from tidemill._hypertables h where h.id = c.hypertable_id;
end
$$;
comment on function tidemill.move_chunk is
$$Moves a chunk with its indexes into another tablespace. Packed rows go along. Readers of the chunk wait meanwhile.

chunk                         a chunk, as show_chunks tells it
destination_tablespace        where its rows go
index_destination_tablespace  where its indexes go; NULL (default): where the rows go
reorder_index                 orders the rows by this index, too: one of the chunk or of the hypertable; NULL (default):
                              they keep their order. For a compressed chunk it is ignored, with a notice
verbose                       tells the chunk and where it goes

It may be called in a transaction. Errors: 22023 NULL, 42704 no chunk, no such tablespace, or no index to order by, 42501
not its owner, or no right to the tablespace, 55P03 it was locked for 5 seconds. Behaviour follows TimescaleDB's function
of that name.$$;

create or replace function tidemill._chunk_index(chunk regclass, given regclass) returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  found_index regclass;
begin
  select i.indexrelid into found_index from pg_index i
    where i.indrelid = chunk
      and case when given is null then i.indisclustered
               else i.indexrelid = given or given in (select a.relid from pg_partition_ancestors(i.indexrelid) a) end;
  if not found and given is null then
    raise exception using errcode = '42704', message = format('there is no previously clustered index for table "%s"', chunk),
      hint = 'Name an index: one of the chunk, or of the hypertable.';
  elsif not found or not tidemill._can_order(found_index) then
    raise exception using errcode = '42704', message = format('"%s" is not a valid clustering index for table "%s"', given, chunk),
      hint = 'Name an index of the chunk, or of the hypertable: a btree or GiST index without WHERE.';
  end if;
  return found_index;
end
$$;
comment on function tidemill._chunk_index is
$$The index of a chunk that is meant by one of it or of its hypertable; NULL means the one that it was last ordered by.

Error: 42704 there is none, or rows cannot be ordered by it.$$;

create or replace function tidemill._can_order(index regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select i.indisvalid and i.indpred is null and pg_index_has_property(i.indexrelid, 'clusterable')
  from pg_index i where i.indexrelid = index
$$;
comment on function tidemill._can_order is 'Whether CLUSTER can order rows by an index.';
