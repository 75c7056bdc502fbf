-- How many jobs there are, for who looks every few seconds: by indexes, and of each only the first jobs.

create or replace function tidemill._job_counts(most integer default 10000)
returns table (identifier text, state text, jobs bigint, oldest timestamptz, newest_error bigint, cut boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
    with recursive levels (priority) as (
      -- As in _oldest_ready.
      (select j.priority from tidemill._jobs j
       where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
       order by j.priority, j.run_at, j.id limit 1)
      union all
      select n.priority
      from levels l
      cross join lateral (
        select j.priority from tidemill._jobs j
        where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts and j.priority > l.priority
        order by j.priority, j.run_at, j.id limit 1) n
    ),
    -- A walk that finds more than `most` is cut: 1, 3, 4 and 6 meet what is ready, 2, 5 and 6 what is for later.
    walked (walk, id, task_id, run_at, tried, state) as materialized (
      (select 1, f.id, f.task_id, f.run_at, f.attempts > 0, null
       from (select l.priority from levels l limit 100) l
       cross join lateral (
         select j.id, j.task_id, j.run_at, j.attempts from tidemill._jobs j
         where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
           and j.priority = l.priority and j.run_at <= now()
         order by j.run_at, j.id limit most + 1) f
       limit most + 1)
      union all
      (select 2, f.id, f.task_id, f.run_at, f.attempts > 0, null
       from (select l.priority from levels l limit 100) l
       cross join lateral (
         select j.id, j.task_id, j.run_at, j.attempts from tidemill._jobs j
         where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
           and j.priority = l.priority and j.run_at > now()
         order by j.run_at, j.id limit most + 1) f
       limit most + 1)
      union all
      (select 3, j.id, j.task_id, j.run_at, j.attempts > 0, null from tidemill._jobs j
       where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts and j.run_at <= j.created_at
       order by j.queue_id, j.priority, j.run_at, j.id limit most + 1)
      union all
      (select 4, j.id, j.task_id, j.run_at, j.attempts > 0, null from tidemill._jobs j
       where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts and j.run_at > j.created_at
         and j.run_at <= now()
       order by j.run_at, j.id limit most + 1)
      union all
      (select 5, j.id, j.task_id, j.run_at, j.attempts > 0, null from tidemill._jobs j
       where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts and j.run_at > j.created_at
         and j.run_at > now()
       order by j.run_at, j.id limit most + 1)
      union all
      (select 6, j.id, j.task_id, j.run_at, j.attempts > 0, null from tidemill._jobs j
       where j.gate_id is not null and j.locked_at is null and j.attempts < j.max_attempts
       order by j.gate_id, j.task_id, j.priority, j.run_at, j.id limit most + 1)
      union all
      (select 7, j.id, j.task_id, j.run_at, false, 'running' from tidemill._jobs j
       where j.locked_by is not null order by j.locked_by limit most + 1)
      union all
      -- Those that have ended stand in no index. They stay, and so are the oldest ones sooner or later.
      (select 8, j.id, j.task_id, j.run_at, j.last_error is not null,
         case when j.locked_at is not null or j.attempts < j.max_attempts then 'other'
           when j.cancelled_after is not null then 'cancelled' else 'failed' end
       from tidemill._jobs j order by j.id limit most + 1)
    ),
    sizes as materialized (
      select coalesce(array_agg(w.walk) filter (where w.jobs > most), '{}') as cut
      from (select w.walk, count(*) as jobs from walked w group by w.walk) w
    ),
    -- Names last: once for a task and state, not for each job.
    counted as materialized (
      select n.task_id, n.state, count(*) as jobs, min(n.run_at) as oldest, max(n.id) filter (where n.tried) as newest_error
      from (
        select w.id, w.task_id, w.run_at, w.tried,
          coalesce(w.state, case when w.run_at <= now() then 'ready' when w.tried then 'retrying' else 'scheduled' end) as state
        from walked w) n
      where n.state <> 'other'
      group by n.task_id, n.state
    )
    select t.identifier, c.state, c.jobs, greatest(c.oldest, '0001-01-02Z'), c.newest_error,
      z.cut && case
        when c.state = 'ready' then '{1,3,4,6}'
        when c.state = 'scheduled' or c.state = 'retrying' then '{2,5,6}'
        when c.state = 'running' then '{7}'
        else '{8}' end::integer[]
    from counted c
    cross join sizes z
    join tidemill._tasks t on t.id = c.task_id;
end
$$;
comment on function tidemill._job_counts is
$$For each task and state, how many jobs there are, the earliest run_at, and the last of them that has an error. No table of
jobs is walked: of each index the first so many jobs are counted, of those that failed or were cancelled what is among the
first so many jobs of the table. `cut` says that there may be more. It tells what tidemill.jobs has, without payloads.$$;
