-- It commits, so it has no SET clause, and all names are qualified.
create or replace procedure tidemill.policy_tiering(action_id integer, config jsonb)
language plpgsql
as $$
declare
  chunk pg_catalog.regclass;
begin
  for chunk in select p.relation from tidemill._chunks_to_move(action_id, config) p loop
    if tidemill._call_if_free(chunk, pg_catalog.format('select tidemill.move_chunk(%L, %L)', chunk,
        config operator(pg_catalog.->>) 'tablespace')) then
      raise notice 'chunk % moved', chunk;
    end if;
    commit;
  end loop;
end
$$;
comment on procedure tidemill.policy_tiering is
$$Moves the old chunks of a hypertable into another tablespace, each in a transaction of its own: what the action of
add_tiering_policy calls.

action_id  the action
config     hypertable_id, move_after and tablespace$$;

create or replace function tidemill._call_if_free(chunk regclass, statement text) returns boolean
-- No SET clause: the statement names the chunk as the caller's search path has it.
language plpgsql
as $$
begin
  execute statement;
  return true;
exception
  when undefined_table or undefined_object then
    if exists (select from tidemill._chunks c where c.relation operator(pg_catalog.=) chunk) then
      raise;
    end if;
    -- Retention has dropped it meanwhile.
    return false;
  when lock_not_available or deadlock_detected then
    raise warning 'chunk % is locked, and left for the next run', chunk;
    return false;
end
$$;
comment on function tidemill._call_if_free is
  'Calls a function on a chunk unless the chunk is gone, or locked for long; returns whether it did.';

create or replace function tidemill._chunks_to_move(action_id integer, config jsonb) returns table (relation regclass)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h constant tidemill._hypertables := tidemill._policy_table(action_id, config);
begin
  if h.id is null then
    return;
  end if;
  return query
    select c.relation
    from tidemill.show_chunks(h.rows_table, older_than => tidemill._older_than(h, config ->> 'move_after')) s
    join tidemill._chunks c on c.relation = s
    join pg_class k on k.oid = c.relation
    join pg_database d on d.datname = current_database()
    left join pg_tablespace t on t.oid = coalesce(nullif(k.reltablespace, 0), d.dattablespace)
    where t.spcname is distinct from config ->> 'tablespace'
    order by c.range_start;
end
$$;
comment on function tidemill._chunks_to_move is 'The chunks that a tiering policy has to move now, the oldest first.';
