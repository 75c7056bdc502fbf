create or replace function tidemill.compress_chunk(
  uncompressed_chunk regclass, if_not_compressed boolean default true, recompress boolean default false
) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  c tidemill._chunks := tidemill._locked_chunk(uncompressed_chunk);
  h tidemill._hypertables;
  triggers text;
  packed bigint;
begin
  select i.* into h from tidemill._hypertables i where i.id = c.hypertable_id;
  if h.segments is null then
    raise exception using errcode = '0A000', message = format('compression is not enabled on hypertable "%s"', tidemill._bare_name(h.rows_table)),
      hint = format('First: SELECT tidemill.enable_compression(%L)', h.rows_table);
  end if;
  if (select r.relrowsecurity from pg_class r where r.oid = h.rows_table) then
    raise exception using errcode = '0A000', message = format('row level security of "%s" would not hold for packed rows', h.rows_table),
      hint = 'Disable it, or decompress all chunks.';
  end if;
  perform tidemill._refuse_what_is_not_packed(h);
  perform tidemill._match_foreign_keys(h);
  perform tidemill._check_deletable(uncompressed_chunk);
  if not c.is_compressed then
    select b.heap, b.index, b.toast into c.bytes_before_heap, c.bytes_before_index, c.bytes_before_toast
      from tidemill._chunk_bytes(uncompressed_chunk) b;
  end if;
  triggers := tidemill._without_triggers(uncompressed_chunk);
  if recompress and c.is_compressed then
    -- Rows that wait beside their segment come into one.
    perform tidemill._unpack(h, c);
  end if;
  packed := tidemill._pack(h, c);
  execute triggers;
  if c.is_compressed and packed = 0 then
    if not if_not_compressed then
      raise exception using errcode = '42710', message = format('chunk "%s" is already compressed', uncompressed_chunk),
        hint = 'With if_not_compressed => true this is a notice.';
    end if;
    raise notice 'chunk "%" is already compressed', uncompressed_chunk;
    return uncompressed_chunk;
  end if;
  perform tidemill._guard(h, c);
  c := tidemill._count_packed(h, c);
  c.is_compressed := true;
  c.emptied_by := pg_current_xact_id();
  insert into tidemill._hypertable_requests (c, verb) values (c, 'keep c');
  perform tidemill._note_hypertable_act(h, 'compress_chunk', null, '{}', uncompressed_chunk);
  return uncompressed_chunk;
end
$$;
comment on function tidemill.compress_chunk is
$$Packs the rows of a chunk, and returns the chunk. Readers see either all of it packed or nothing.

uncompressed_chunk  a chunk, as show_chunks tells it
if_not_compressed   true (default): of a chunk that is compressed, with no row beside, only a notice says so
recompress          true: packs all of its rows anew; default: those that came since are packed beside the others

Rows are proved to come back as they were before the transaction goes on. Writers of the chunk wait.
Errors: 42704 no chunk, 42501 not its owner, 0A000 compression is not enabled, 42710 it is compressed, 55P03 it was
locked for 5 seconds, XX001 a row would not come back. Behaviour follows TimescaleDB's function of that name.$$;

create or replace function tidemill._locked_chunk(relation regclass) returns tidemill._chunks
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  c tidemill._chunks;
  rows_table regclass;
begin
  select i.rows_table into rows_table from tidemill._chunks k join tidemill._hypertables i on i.id = k.hypertable_id
    where k.relation = _locked_chunk.relation;
  if found then
    perform tidemill._check_owner(rows_table);
    perform tidemill._make_place(h, tidemill._place(k)) from tidemill._chunks k join tidemill._hypertables h on h.id = k.hypertable_id
      where k.relation = _locked_chunk.relation;
    -- First the table and then the chunk, as inserts do. Until here others may have dropped the chunk.
    execute format('lock table only %s in access share mode', rows_table);
  end if;
  select k.* into c from tidemill._chunks k where k.relation = _locked_chunk.relation;
  if not found then
    perform tidemill._refuse_timescaledb(relation);
    raise exception using errcode = '42704', message = format('"%s" is not a chunk', relation),
      hint = 'Take one that show_chunks tells.';
  end if;
  perform tidemill._check_owner(relation);
  perform tidemill._expect_read_committed();
  -- Others may read it. What they have committed until here is seen below.
  execute format('lock table %s in share row exclusive mode', relation);
  select k.* into c from tidemill._chunks k where k.relation = _locked_chunk.relation;
  return c;
end
$$;
comment on function tidemill._locked_chunk is 'A chunk whose rows nobody else changes until the transaction ends.';
