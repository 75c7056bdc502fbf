-- Figures of the database for monitors: by indexes, or from tables that are small. No table of jobs is walked.

create or replace function tidemill._figures() returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
begin
  return jsonb_build_object(
    'workers', (select count(*) from tidemill._workers w where w.expires_at > clock_timestamp() and w.lost_at is null),
    'leases', (select count(*) from tidemill._jobs j where j.locked_by is not null),
    'oldest', (select coalesce(jsonb_object_agg(o.identifier, o.seconds), '{}') from tidemill._oldest_ready() o),
    'actions', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', a.id, 'name', a.name, 'failures', s.total_failures, 'in_a_row', s.consecutive_failures,
        'late', case when a.scheduled and s.run_id is null and isfinite(s.next_start)
          then greatest(0, extract(epoch from clock_timestamp() - s.next_start)) else 0 end) order by a.id), '[]')
      from tidemill._actions a join tidemill._action_states s on s.action_id = a.id));
end
$$;
comment on function tidemill._figures is 'What tidemill worker --metrics tells of the database.';

create or replace function tidemill._oldest_ready(most integer default 1000) returns table (identifier text, seconds double precision)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
    with recursive levels (priority) as (
      -- As in _lock_jobs: the conditions have to match the index _jobs_ready.
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
    -- As in _lock_queued_jobs: the index _jobs_due_queued, from queue to queue.
    queues (queue_id, task_id, run_at) as (
      (select j.queue_id, j.task_id, j.run_at from tidemill._jobs j
       where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
         and j.run_at <= j.created_at
       order by j.queue_id, j.priority, j.run_at, j.id limit 1)
      union all
      select n.queue_id, n.task_id, n.run_at
      from queues q
      cross join lateral (
        select j.queue_id, j.task_id, j.run_at from tidemill._jobs j
        where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
          and j.run_at <= j.created_at and j.queue_id > q.queue_id
        order by j.queue_id, j.priority, j.run_at, j.id limit 1) n
    ),
    first as materialized (
      select f.task_id, f.run_at
      from (select l.priority from levels l limit 100) l
      cross join lateral (
        select j.task_id, j.run_at from tidemill._jobs j
        where j.queue_id is null and j.gate_id is null and j.locked_at is null and j.attempts < j.max_attempts
          and j.priority = l.priority and j.run_at <= now()
        order by j.run_at, j.id limit most) f
      union all
      select q.task_id, q.run_at from (select q.task_id, q.run_at from queues q limit most) q
      union all
      -- And those that became due later: the index _jobs_later.
      (select j.task_id, j.run_at from tidemill._jobs j
       where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
         and j.run_at > j.created_at and j.run_at <= now()
       order by j.run_at, j.id limit most)
    )
    select t.identifier, greatest(0, extract(epoch from clock_timestamp() - min(f.run_at)))::double precision
    from first f join tidemill._tasks t on t.id = f.task_id group by t.identifier;
end
$$;
comment on function tidemill._oldest_ready is
$$For each task, how long its oldest ready job has been ready: of so many jobs that are next in line in each of 100
priorities; of the first jobs of so many named queues; and of so many of their jobs that became due since they were added.$$;
