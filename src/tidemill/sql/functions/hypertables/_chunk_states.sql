-- What the command line shows of chunks. It looks at each without waiting, so what is locked is told and passed over.

create or replace function tidemill._chunk_states(hypertable_id integer)
returns table (
  relation regclass, number integer, is_compressed boolean, has_rows boolean, rows bigint, rows_estimated boolean, bytes bigint,
  packed_rows bigint, packed_bytes bigint, note text)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  h tidemill._hypertables;
  packed jsonb := '{}';
  missing text;
begin
  select i.* into h from tidemill._hypertables i where i.id = _chunk_states.hypertable_id;
  if h.segments is not null then
    begin
      perform tidemill._expect_unlocked(i.inhrelid) from pg_inherits i where i.inhparent = h.segments;
      perform tidemill._expect_unlocked(h.segments);
      select coalesce(jsonb_object_agg(p.number, jsonb_build_array(p.rows, p.heap + p.index + p.toast)), '{}') into packed
        from tidemill._packed_bytes(h) p;
    exception
      when lock_not_available then missing := 'segments are locked';
      when insufficient_privilege then missing := 'no right to read segments';
      when undefined_table or syntax_error or undefined_object then missing := 'dropped just now';
      when wrong_object_type then missing := 'segments were changed by their owner';
    end;
  end if;
  for relation, number, is_compressed in
    select c.relation, c.number, c.is_compressed from tidemill._chunks c where c.hypertable_id = h.id
    union all
    select tidemill._default_partition(h), null, false where tidemill._default_partition(h) is not null
  loop
    select l.has_rows, l.rows, l.rows_estimated, l.bytes, l.note into has_rows, rows, rows_estimated, bytes, note
      from tidemill._loose_rows(relation, is_compressed) l;
    packed_rows := case when missing is null then coalesce((packed -> number::text ->> 0)::bigint, 0) end;
    packed_bytes := case when missing is null then coalesce((packed -> number::text ->> 1)::bigint, 0) end;
    note := coalesce(note, missing);
    return next;
  end loop;
end
$$;
comment on function tidemill._chunk_states is
$$How many rows the chunks of a hypertable have, and where they are; with the default partition, whose number is NULL.

rows and bytes are those that are not packed, packed_bytes those of tidemill.chunk_compression_stats. note says why something
is not known.$$;

create or replace function tidemill._loose_rows(
  relation regclass, is_compressed boolean, out has_rows boolean, out rows bigint, out rows_estimated boolean, out bytes bigint,
  out note text)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  -- The planner knows little of a table that was never analyzed, and of a packed chunk it knows what was here before.
  counted constant bigint := case when is_compressed
    or (select c.reltuples < 0 from pg_class c where c.oid = relation) then 100000 else 10000 end;
  plan jsonb;
begin
  perform tidemill._expect_unlocked(relation);
  if exists (select from pg_class r where r.oid = relation and r.relkind <> 'r') then
    -- A foreign table would be read with the caller's rights.
    note := 'no table';
    return;
  end if;
  bytes := pg_total_relation_size(relation);
  if exists (select from pg_class r where r.oid = relation and r.relowner <> current_user::regrole
             and (r.relrowsecurity
                  or exists (select from pg_index i where i.indrelid = r.oid and (i.indexprs is not null or i.indpred is not null))
                  or exists (select from pg_statistic_ext x where x.stxrelid = r.oid and x.stxexprs is not null)))
  then
    -- To plan a query would run functions of the owner with the caller's rights: constant parts of such expressions.
    select case when r.reltuples < 0 or is_compressed then pg_stat_get_live_tuples(r.oid) else r.reltuples end
      into rows from pg_class r where r.oid = relation;
    has_rows := rows > 0;
    rows_estimated := true;
    return;
  end if;
  execute format('select count(*) from (select from only %s limit %s) _rows', relation, counted) into rows;
  has_rows := rows > 0;
  rows_estimated := rows = counted;
  if rows_estimated then
    execute format('explain (format json) select from only %s', relation) into plan;
    rows := greatest(rows, (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
  end if;
exception
  when lock_not_available then note := 'locked';
  when insufficient_privilege then note := 'no right to read it';
  -- Without its name it is a number.
  when undefined_table or undefined_object or syntax_error then note := 'dropped just now';
end
$$;
comment on function tidemill._loose_rows is
'How many rows stand in a partition, of many about how many, and its size. note: it is locked, gone, or nothing that the caller may read.';

create or replace function tidemill._expect_unlocked(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Who waits for such a lock keeps us waiting, too.
  if exists (select from pg_locks l where l.relation = _expect_unlocked.relation and l.mode = 'AccessExclusiveLock'
               and l.pid <> pg_backend_pid()
               and l.database = (select d.oid from pg_database d where d.datname = current_database()))
  then
    raise exception using errcode = '55P03', message = format('"%s" is locked', relation), hint = 'Try again later.';
  end if;
end
$$;
comment on function tidemill._expect_unlocked is 'Raises 55P03 if a reader of a table would have to wait.';
