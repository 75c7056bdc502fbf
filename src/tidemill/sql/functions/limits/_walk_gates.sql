-- The walk: it finds what no visit tells of. It inserts visits and claims nothing itself, so that it may be cut anywhere.

create or replace function tidemill._walk_gates(
  identifiers text[], after_gate bigint, after_task integer, after_idle bigint, most integer,
  out last_gate bigint, out last_task integer, out last_idle bigint
)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  task_ids constant integer[] := tidemill._task_ids(identifiers);
  looked_at constant timestamptz := clock_timestamp();
  gates bigint[];
  tasks integer[];
begin
  -- From gate to gate, whatever the number of jobs in each.
  with recursive heads(gate_id, task_id) as (
    select after_gate, after_task
    union all
    select n.gate_id, n.task_id
    from heads h
    cross join lateral (
      select j.gate_id, j.task_id from tidemill._jobs j
      where j.gate_id is not null and j.locked_at is null and j.attempts < j.max_attempts
        and (j.gate_id, j.task_id) > (h.gate_id, h.task_id)
      order by j.gate_id, j.task_id limit 1
    ) n
  )
  select array_agg(h.gate_id), array_agg(h.task_id)
    into gates, tasks
    from (select h.gate_id, h.task_id from heads h offset 1 limit most) h;
  last_gate := coalesce(gates[most], -1);
  last_task := coalesce(tasks[most], 0);

  insert into tidemill._visits (task_id, at, gate_id)
    select h.task_id, now(), h.gate_id
    from unnest(gates, tasks) as h(gate_id, task_id)
    left join lateral (select l.* from tidemill._limits l where l.id = (h.gate_id >> 40)::integer) l on true
    left join lateral (select g.* from tidemill._gates g where g.id = h.gate_id) g on true
    where h.task_id = any(task_ids)
      and (l.concurrency is null or l.concurrency > (
        select count(*) from (
          select from tidemill._jobs j where j.gate_id = h.gate_id and j.locked_at is not null limit l.concurrency) held))
      and (l.per_second is null or g.filled_at is null or g.filled_at > looked_at
        or g.tokens + extract(epoch from looked_at - g.filled_at)::float8 * l.per_second >= 1 - 1e-9)
      -- A visit that is due already does as well, and tells that nobody has come yet.
      and not exists (
        select from (select v.gate_id from tidemill._visits v
                     where v.task_id = h.task_id and v.at <= now() order by v.at limit 20) v
        where v.gate_id = h.gate_id)
      and exists (
        select from (
          select from tidemill._jobs j
          where j.gate_id = h.gate_id and j.task_id = h.task_id and j.locked_at is null and j.attempts < j.max_attempts
            and j.run_at <= now()
          limit 1) due);

  -- A gate without jobs whose bucket is full is as one that is not there.
  select array_agg(g.id) into gates
    from (select g.id from tidemill._gates g where g.id > after_idle order by g.id limit most) g;
  last_idle := coalesce(gates[most], -1);
  delete from tidemill._gates g
    using (
      select g.id
      from unnest(gates) as i(id)
      cross join lateral (
        select g.id, g.tokens, g.filled_at from tidemill._gates g where g.id = i.id for update skip locked
      ) g
      left join lateral (select l.* from tidemill._limits l where l.id = (g.id >> 40)::integer) l on true
      where not exists (select from (select from tidemill._jobs j where j.gate_id = g.id and j.locked_at is null
                                       and j.attempts < j.max_attempts limit 1) waiting)
        and not exists (select from (select from tidemill._jobs j where j.gate_id = g.id and j.locked_at is not null
                                     limit 1) running)
        and (l.per_second is null or g.filled_at is null
          or g.tokens + extract(epoch from looked_at - g.filled_at)::float8 * l.per_second >= l.burst)
    ) idle
    where g.id = idle.id;
end
$$;
comment on function tidemill._walk_gates is
$$Inserts visits of gates that have jobs which are due, and room for them; and deletes rows of gates that nobody needs.

after_gate, after_task, after_idle  where to go on; -1, 0, -1: from the beginning
most                                how many to look at
Returned is where to go on the next time, -1 where it came to the end.$$;
