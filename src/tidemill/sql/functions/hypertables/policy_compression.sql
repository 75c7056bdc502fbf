-- It commits, so it has no SET clause, and all names are qualified.
create or replace procedure tidemill.policy_compression(action_id integer, config jsonb)
language plpgsql
as $$
declare
  chunks constant pg_catalog.regclass[] := array(select p.relation from tidemill._chunks_to_compress(action_id, config) p);
  chunk pg_catalog.regclass;
  called record;
  failures pg_catalog.jsonb[];
begin
  -- To look at chunks has locked them, and other policies lock the table first.
  commit;
  foreach chunk in array chunks loop
    select f.is_done, f.failure into called
      from tidemill._call_if_free(chunk, pg_catalog.format('select tidemill.compress_chunk(%L)', chunk)) f;
    if called.is_done then
      raise notice 'chunk % compressed', chunk;
    end if;
    failures := pg_catalog.array_append(failures, called.failure);
    commit;
  end loop;
  perform tidemill._tidy_up(h) from tidemill._hypertables h
    where h.id operator(pg_catalog.=) (config operator(pg_catalog.->>) 'hypertable_id')::pg_catalog.int4;
  commit;
  perform tidemill._fail_with(failures);
end
$$;
comment on procedure tidemill.policy_compression is
$$Compresses the old chunks of a hypertable, each in a transaction of its own: what the action of add_compression_policy
calls. Also those that were compressed, and have got rows since. Gives back the space of packed rows, and cuts the arms of the
view anew, where nobody is in the way.

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
  -- So that no chunk is dropped between the list and the look.
  execute format('lock table only %s in access share mode', h.rows_table);
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
