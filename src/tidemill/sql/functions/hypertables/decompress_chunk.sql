create or replace function tidemill.decompress_chunk(uncompressed_chunk regclass, if_compressed boolean default true)
returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  c tidemill._chunks := tidemill._locked_chunk(uncompressed_chunk);
  h tidemill._hypertables;
  triggers text;
begin
  if not c.is_compressed then
    if not if_compressed then
      raise exception using errcode = '55000', message = format('chunk "%s" is not compressed', uncompressed_chunk),
        hint = 'With if_compressed => true this is a notice.';
    end if;
    raise notice 'chunk "%" is not compressed', uncompressed_chunk;
    return null;
  end if;
  select i.* into h from tidemill._hypertables i where i.id = c.hypertable_id;
  if exists (select from pg_trigger t where t.tgrelid = uncompressed_chunk and t.tgname = '~tidemill_guard') then
    -- To drop it would keep readers waiting.
    execute format('alter table %s disable trigger "~tidemill_guard"', uncompressed_chunk);
  end if;
  triggers := tidemill._without_triggers(uncompressed_chunk);
  perform tidemill._unpack(h, c);
  execute triggers;
  c.is_compressed := false;
  c.emptied_by := null;
  insert into tidemill._hypertable_requests (c, verb) values (c, 'keep c');
  perform tidemill._note_hypertable_act(h, 'decompress_chunk', null, '{}', uncompressed_chunk);
  return uncompressed_chunk;
end
$$;
comment on function tidemill.decompress_chunk is
$$Brings the packed rows of a chunk back into its table, and returns the chunk.

uncompressed_chunk  a chunk, as show_chunks tells it
if_compressed       true (default): of a chunk that is not compressed only a notice says so, and NULL is returned

Errors: 42704 no chunk, 42501 not its owner, 55000 it is not compressed, 55P03 it was locked for 5 seconds.
Behaviour follows TimescaleDB's function of that name.$$;
