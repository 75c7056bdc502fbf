-- It commits, so it has no SET clause, and all names are qualified.
create or replace procedure tidemill.policy_tiering(action_id integer, config jsonb)
language plpgsql
as $$
declare
  chunks constant pg_catalog.regclass[] := array(select p.relation from tidemill._chunks_to_move(action_id, config) p);
  chunk pg_catalog.regclass;
  called record;
  failures pg_catalog.jsonb[];
begin
  commit;
  foreach chunk in array chunks loop
    select f.is_done, f.failure into called
      from tidemill._call_if_free(chunk, pg_catalog.format('select tidemill.move_chunk(%L, %L)', chunk,
        config operator(pg_catalog.->>) 'tablespace')) f;
    if called.is_done then
      raise notice 'chunk % moved', chunk;
    end if;
    failures := pg_catalog.array_append(failures, called.failure);
    commit;
  end loop;
  perform tidemill._fail_with(failures);
end
$$;
comment on procedure tidemill.policy_tiering is
$$Moves the old chunks of a hypertable into another tablespace, each in a transaction of its own: what the action of
add_tiering_policy calls.

action_id  the action
config     hypertable_id, move_after and tablespace$$;

create or replace function tidemill._call_if_free(chunk regclass, statement text, out is_done boolean, out failure jsonb)
-- No SET clause: the statement names the chunk as the caller's search path has it.
language plpgsql
as $$
declare
  remedy pg_catalog.text;
begin
  is_done := false;
  execute statement;
  is_done := true;
exception
  when lock_not_available or deadlock_detected then
    raise warning 'chunk % is locked, and left for the next run', chunk;
  when others then
    -- Retention may have dropped it meanwhile.
    if exists (select from tidemill._chunks c where c.relation operator(pg_catalog.=) chunk) then
      get stacked diagnostics remedy = pg_exception_hint;
      failure := pg_catalog.jsonb_build_object('code', sqlstate, 'message', pg_catalog.concat('chunk ', chunk, ': ', sqlerrm),
        'hint', remedy);
      raise warning 'chunk %: %, and left for the next run', chunk, sqlerrm;
    end if;
end
$$;
comment on function tidemill._call_if_free is
  'Calls a function on a chunk, unless that is gone, or locked for long. What else fails is told, and is not in the way of other chunks.';

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

create or replace function tidemill._fail_with(failures jsonb[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  told constant jsonb[] := array_remove(failures, null);
begin
  if cardinality(told) > 0 then
    raise exception using errcode = told[1] ->> 'code', message = told[1] ->> 'message', hint = told[1] ->> 'hint',
      detail = case when cardinality(told) > 1 then format('And %s chunks more failed.', cardinality(told) - 1) else '' end;
  end if;
end
$$;
comment on function tidemill._fail_with is 'Raises what failed in a run that went on behind it: the first of it, and how many more.';
