-- It commits, so it has no SET clause, and all names are qualified.
create or replace procedure tidemill.policy_reorder(action_id integer, config jsonb)
language plpgsql
as $$
declare
  chunks pg_catalog.regclass[];
  indexes pg_catalog.regclass[];
  called record;
  failures pg_catalog.jsonb[];
begin
  select pg_catalog.array_agg(p.chunk), pg_catalog.array_agg(p.sorted_by) into chunks, indexes
    from tidemill._chunks_to_reorder(action_id, config) p;
  commit;
  for i in 1..coalesce(pg_catalog.cardinality(chunks), 0) loop
    select f.is_done, f.failure into called
      from tidemill._call_if_free(chunks[i], pg_catalog.format('select tidemill.reorder_chunk(%L, %L)', chunks[i], indexes[i])) f;
    if called.is_done then
      raise notice 'chunk % reordered', chunks[i];
    end if;
    failures := pg_catalog.array_append(failures, called.failure);
    commit;
  end loop;
  perform tidemill._fail_with(failures);
end
$$;
comment on procedure tidemill.policy_reorder is
$$Orders the chunks of a hypertable by an index, each in a transaction of its own: what the action of add_reorder_policy
calls.

action_id  the action
config     hypertable_id and index_name$$;

create or replace function tidemill._chunks_to_reorder(action_id integer, config jsonb)
returns table (chunk regclass, sorted_by regclass)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  h constant tidemill._hypertables := tidemill._policy_table(action_id, config);
  wanted regclass;
begin
  if h.id is null then
    return;
  end if;
  wanted := tidemill._reorder_index(h, (config ->> 'index_name')::name);
  return query
    select k.relation, i.indexrelid::regclass
    from (
      select c.* from tidemill._chunks c
      where c.hypertable_id = h.id
        and (h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
             or c.range_start <= tidemill._now_units(h.time_type))
      order by c.range_start desc
      -- Those get rows, which would come out of order again.
      offset 3
    ) k
    join pg_index i on i.indrelid = k.relation
    join pg_inherits p on p.inhrelid = i.indexrelid and p.inhparent = wanted
    -- PostgreSQL notes the index by which a table was last clustered.
    where not i.indisclustered and not k.is_compressed
    order by k.range_start;
end
$$;
comment on function tidemill._chunks_to_reorder is 'The chunks that a reorder policy has to order now, the oldest first, and by which index of theirs.';
