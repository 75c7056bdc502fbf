-- Finding jobs: this file and _lock_queued_jobs.sql decide which jobs come next. They lock them
-- until the transaction ends, and write nothing. Hot: tests pin their plans, and the planner
-- may not use statistics, which are wrong right after a bulk load.

create or replace function tidemill._lock_jobs(
  identifiers text[],
  quick text[],
  express boolean,
  max_jobs integer,
  forbidden_flags text[],
  mark_priorities smallint[],
  mark_run_ats timestamptz[],
  mark_ids bigint[],
  after_priority integer default null,
  most_levels integer default null
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
  first_priority constant integer := coalesce(after_priority, -32769);
  bytes integer := 8 * 1024 * 1024;
  due_priorities smallint[];
  last_priority smallint;
  job tidemill._found_job;
  more text;
  -- Where all tasks are quick, a lease takes only jobs that have a key, or were tried before.
  only_tried constant boolean := not express and array_remove(task_ids, null) <@ quick_ids;
  jobs refcursor;
begin
  if array_remove(task_ids, null) = '{}' then
    -- All of them are paused, or have never had a job: whatever is there, is not theirs.
    return next row(null, null, null, null, now(), null, null, null, null, null, null, null, null)::tidemill._found_job;
    return;
  end if;
  if mark_priorities is null or after_priority is not null then
    -- One level for each priority in use, by its first job: if that one is due later, the level is left out.
    -- Its conditions have to match the index _jobs_ready.
    with recursive levels(priority, run_at) as (
      (select j.priority, j.run_at from tidemill._jobs j
       where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
         and j.priority > first_priority
       order by j.priority, j.run_at, j.id limit 1)
      union all
      select n.priority, n.run_at
      from levels l
      cross join lateral (
        select j.priority, j.run_at from tidemill._jobs j
        where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
          and j.priority > l.priority
        order by j.priority, j.run_at, j.id limit 1
      ) n
    )
    select coalesce(array_agg(l.priority) filter (where l.run_at <= now()), '{}'),
           case when count(*) >= most_levels then max(l.priority) end
      into due_priorities, last_priority
      from (select l.* from levels l limit most_levels) l;
    if last_priority is null and first_priority < -32768 then
      -- All levels were seen.
      mark_priorities := due_priorities;
      mark_run_ats := array_fill('-infinity'::timestamptz, array[cardinality(due_priorities)]);
      mark_ids := array_fill(0::bigint, array[cardinality(due_priorities)]);
    else
      select array_agg(l.priority order by l.priority), array_agg(l.run_at order by l.priority),
             array_agg(l.id order by l.priority)
        into mark_priorities, mark_run_ats, mark_ids
        from (
          select d.priority, '-infinity'::timestamptz, 0::bigint from unnest(due_priorities) as d(priority)
          union all
          select m.* from unnest(mark_priorities, mark_run_ats, mark_ids) as m(priority, run_at, id)
          where m.priority <> all(due_priorities)
        ) as l(priority, run_at, id);
    end if;
  end if;

  if only_tried then
    open jobs for
      select tried.id, identifiers[array_position(task_ids, tried.task_id)], tried.payload::text, tried.priority,
             tried.run_at, tried.attempts + 1::smallint, tried.max_attempts, tried.created_at, tried.key,
             tried.revision, tried.flags, tried.keep, tried.trace
      from unnest(mark_priorities, mark_run_ats, mark_ids) as l(priority, run_at, id)
      cross join lateral (
        select j.*
        from tidemill._jobs j
        -- The first two lines have to match the index _jobs_tried, the next one its columns.
        where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
          and (j.key is not null or j.attempts > 0)
          and j.priority = l.priority and j.run_at <= now() and (j.run_at, j.id) > (l.run_at, l.id)
          and j.task_id = any(task_ids)
          and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
        order by j.run_at, j.id
        limit max_jobs
        for update of j skip locked
      ) tried
      limit max_jobs;
  else
    open jobs for
      select r.id, identifiers[array_position(task_ids, r.task_id)], r.payload::text, r.priority, r.run_at,
             r.attempts + 1::smallint, r.max_attempts, r.created_at, r.key, r.revision, r.flags,
             r.keep, r.trace
      from unnest(mark_priorities, mark_run_ats, mark_ids) as l(priority, run_at, id)
      cross join lateral (
        select j.*
        from tidemill._jobs j
        -- The first line has to match the index _jobs_ready, the next one its columns.
        where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
          and j.priority = l.priority and j.run_at <= now() and (j.run_at, j.id) > (l.run_at, l.id)
          and j.task_id = any(task_ids)
          and (j.key is null and j.attempts = 0 and j.task_id = any(quick_ids)) = express
          and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
        order by j.run_at, j.id
        limit max_jobs
        for update of j skip locked
      ) r
      limit max_jobs;
  end if;
  if max_jobs = 1 or not tidemill._has_large_payloads() then
    return query execute format('fetch all from %I', jobs);
  else
    -- One by one, so that none is locked, or even read, beyond the one that is too much.
    while bytes > 0 loop
      fetch jobs into job;
      exit when not found;
      return next job;
      bytes := bytes - octet_length(job.payload);
    end loop;
    if bytes <= 0 then
      more := 'more';
    end if;
  end if;
  close jobs;
  -- Workers that do not know of `more` must not look behind the last job either.
  return next row(null, more, null, last_priority, case when more is null then now() else job.run_at end,
                  null, null, null, null, null, null, null, null)::tidemill._found_job;
end
$$;
comment on function tidemill._lock_jobs is
$$Locks due jobs of these tasks outside named queues, the most urgent first.

express         true: new jobs without a key, of quick tasks; false: all others
mark_*          for each priority, the place in claim order (run_at, id) after which to search;
                NULL: everywhere
after_priority  search everywhere in the priorities behind this one, too
most_levels     in so many of them at most; NULL: in all
The last row is no job. Its run_at is the time up to which jobs were due, its priority the one behind which
was not searched everywhere (NULL: none), and its identifier `more` if the search ended for the size of the
payloads.$$;
