-- It commits, so it has no SET clause, and all names are qualified.
create or replace procedure tidemill.policy_compression(action_id integer, config jsonb)
language plpgsql
as $$
declare
  chunk pg_catalog.regclass;
begin
  for chunk in select p.relation from tidemill._chunks_to_compress(action_id, config) p loop
    if tidemill._call_if_free(chunk, pg_catalog.format('select tidemill.compress_chunk(%L)', chunk)) then
      raise notice 'chunk % compressed', chunk;
    end if;
    commit;
  end loop;
  perform tidemill._tidy_up(h) from tidemill._hypertables h
    where h.id operator(pg_catalog.=) (config operator(pg_catalog.->>) 'hypertable_id')::pg_catalog.int4;
end
$$;
comment on procedure tidemill.policy_compression is
$$Compresses the old chunks of a hypertable, each in a transaction of its own: what the action of add_compression_policy
calls. Also those that were compressed, and have got rows since.

action_id  the action
config     hypertable_id and compress_after$$;

create or replace function tidemill._chunks_to_compress(action_id integer, config jsonb) returns table (relation regclass)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h constant tidemill._hypertables := tidemill._policy_table(action_id, config);
  k tidemill._chunks;
  has_rows boolean;
begin
  if h.id is null then
    return;
  end if;
  for k in
    select c.* from tidemill.show_chunks(h.rows_table, older_than => tidemill._older_than(h, config ->> 'compress_after')) s
    join tidemill._chunks c on c.relation = s
    order by c.range_start
  loop
    execute format('select exists (select from only %s)', k.relation) into has_rows;
    if has_rows then
      relation := k.relation;
      return next;
    end if;
  end loop;
end
$$;
comment on function tidemill._chunks_to_compress is 'The chunks that a compression policy has to compress now, the oldest first.';
