create or replace function tidemill.reorder_chunk(chunk regclass, index regclass default null, verbose boolean default false)
returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  c tidemill._chunks := tidemill._owned_chunk(chunk);
  sorted_by regclass;
begin
  perform tidemill._expect_read_committed();
  perform tidemill._lock_table(chunk, 'access exclusive');
  -- Only now it is known what others have packed.
  c := tidemill._owned_chunk(chunk);
  if c.is_compressed then
    raise exception using errcode = '0A000', message = format('chunk "%s" is compressed, and its packed rows are in order', chunk),
      hint = format('To order its rows by an index, first: SELECT tidemill.decompress_chunk(%L)', chunk);
  end if;
  sorted_by := tidemill._chunk_index(chunk, index);
  if reorder_chunk.verbose then
    raise info 'reordering chunk % by index %', chunk, sorted_by;
  end if;
  execute format('cluster %s using %I', chunk, tidemill._bare_name(sorted_by));
  perform tidemill._note_hypertable_act(h, 'reorder_chunk', null, jsonb_build_object('index', sorted_by), chunk)
    from tidemill._hypertables h where h.id = c.hypertable_id;
end
$$;
comment on function tidemill.reorder_chunk is
$$Orders the rows of a chunk by an index, as CLUSTER does: it reads fewer pages for rows that stand together there. Rows that
come later are not ordered. Readers of the chunk wait meanwhile.

chunk    a chunk, as show_chunks tells it
index    an index of the chunk or of the hypertable; NULL (default): the one that the chunk was last ordered by
verbose  tells the chunk and the index

It may be called in a transaction. Errors: 22023 NULL, 42704 no chunk, or no index to order by, 42501 not its owner, 0A000
it is compressed, 55P03 it was locked for 5 seconds. Behaviour follows TimescaleDB's function of that name.$$;
