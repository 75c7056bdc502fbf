-- Finding jobs: the one place that decides which jobs come next. It locks them until
-- the transaction ends, and writes nothing. Hot: tests pin its plans, and the planner
-- may not use statistics, which are wrong right after a bulk load.

create or replace function tidemill._lock_jobs(
  identifiers text[],
  quick text[],
  express boolean,
  max_jobs integer,
  forbidden_flags text[],
  mark_priorities smallint[],
  mark_run_ats timestamptz[],
  mark_ids bigint[]
) returns setof tidemill._found_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  -- Looked up at each call: after a restore, numbers that a worker kept may mean other tasks.
  task_ids constant integer[] := tidemill._task_ids(identifiers);
  quick_ids constant integer[] := array_remove(tidemill._task_ids(quick), null);
begin
  if mark_priorities is null then
    -- One level for each priority in use, so that rows due later at an urgent priority are skipped.
    -- Its conditions have to match the index _jobs_ready.
    with recursive levels(priority) as (
      (select j.priority from tidemill._jobs j
       where j.queue_id is null and j.locked_at is null and j.attempts < j.max_attempts
       order by j.priority limit 1)
      union all
      select (select j.priority from tidemill._jobs j
              where j.queue_id is null and j.locked_at is null and j.attempts < j.max_attempts
                and j.priority > l.priority
              order by j.priority limit 1)
      from levels l where l.priority is not null
    )
    select array_agg(l.priority), array_agg('-infinity'::timestamptz), array_agg(0)
      into mark_priorities, mark_run_ats, mark_ids
      from levels l where l.priority is not null;
  end if;

  return query
    select r.id, identifiers[array_position(task_ids, r.task_id)], r.payload::text, r.priority, r.run_at,
           r.attempts + 1::smallint, r.max_attempts, r.created_at, r.key, r.revision, r.flags
    from unnest(mark_priorities, mark_run_ats, mark_ids) as l(priority, run_at, id)
    cross join lateral (
      select j.*
      from tidemill._jobs j
      -- The first line has to match the index _jobs_ready, the next one its columns.
      where j.queue_id is null and j.locked_at is null and j.attempts < j.max_attempts
        and j.priority = l.priority and j.run_at <= now() and (j.run_at, j.id) > (l.run_at, l.id)
        and j.task_id = any(task_ids)
        and (j.key is null and j.attempts = 0 and j.task_id = any(quick_ids)) = express
        and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
      order by j.run_at, j.id
      limit max_jobs
      for update of j skip locked
    ) r
    limit max_jobs;
  return next row(null, null, null, null, now(), null, null, null, null, null, null)::tidemill._found_job;
end
$$;
comment on function tidemill._lock_jobs is
$$Locks due jobs of these tasks outside named queues, the most urgent first.

express    true: new jobs without a key, of quick tasks; false: all others
mark_*     for each priority, the place in claim order (run_at, id) after which to search;
           NULL: everywhere
The last row is no job: its run_at is the time up to which jobs were due.$$;

create or replace function tidemill._lock_queued_jobs(
  identifiers text[],
  quick text[],
  express boolean,
  max_jobs integer,
  forbidden_flags text[],
  after_queue bigint,
  per_queue integer
) returns setof tidemill._claimed_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  task_ids constant integer[] := tidemill._task_ids(identifiers);
  quick_ids constant integer[] := array_remove(tidemill._task_ids(quick), null);
begin
  return query
    -- The conditions of the heads have to match the index _jobs_ready_queued.
    with recursive heads(queue_id) as (
      (select j.queue_id from tidemill._jobs j
       where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
         and j.queue_id > after_queue
       order by j.queue_id limit 1)
      union all
      select (select j.queue_id from tidemill._jobs j
              where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
                and j.queue_id > h.queue_id
              order by j.queue_id limit 1)
      from heads h where h.queue_id is not null
    ),
    free as materialized (
      -- Lateral keeps the rotation: a join may take the heads in any order.
      select f.id, f.queue_name, f.run
      from heads h
      cross join lateral (
        select q.id, q.queue_name, n.run
        from tidemill._queues q
        cross join lateral (
          -- Jobs at the head of the queue up to the first one for the other lane: order within a queue is exact.
          select (array_agg(c.id))
                   [:coalesce(min(c.place) filter (where c.is_express <> express) - 1, count(*))::integer] as run
          from (
            select j.id, j.key is null and j.attempts = 0 and j.task_id = any(quick_ids) as is_express,
                   row_number() over () as place
            from (
              select j.id, j.key, j.attempts, j.task_id
              from tidemill._jobs j
              -- The first line has to match the index _jobs_ready_queued.
              where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                and j.run_at <= now() and j.task_id = any(task_ids)
                and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
              order by j.priority, j.run_at, j.id
              limit per_queue
            ) j
          ) c
        ) n
        where q.id = h.queue_id and q.locked_at is null and cardinality(n.run) > 0
        for no key update of q skip locked
      ) f
      limit max_jobs
    )
    select r.id, identifiers[array_position(task_ids, r.task_id)], r.payload::text, r.priority, r.run_at,
           r.attempts + 1::smallint, r.max_attempts, r.created_at, r.key, r.revision, r.flags,
           f.id, f.queue_name, null::bigint
    from free f
    cross join lateral unnest(f.run) as i(id)
    cross join lateral (
      -- Exactly these jobs: if some have ended meanwhile, those behind them may be for the other lane.
      select j.*
      from tidemill._jobs j
      -- The id has to match the primary key; the rest is as above, for what changed before the lock.
      where j.id = i.id and j.queue_id is not distinct from f.id
        and j.locked_at is null and j.attempts < j.max_attempts
        and j.run_at <= now() and j.task_id = any(task_ids)
        and (j.key is null and j.attempts = 0 and j.task_id = any(quick_ids)) = express
        and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
      for update of j skip locked
    ) r;
end
$$;
comment on function tidemill._lock_queued_jobs is
$$Locks free named queues, in rotation after after_queue, with up to per_queue due jobs of each.

express    true: queues that begin with a new job without a key, of a quick task, with the jobs of
           that kind at their head; false: all other queues$$;
