-- Visits: when a worker should look at a gate. Whatever may let one of its jobs start inserts one for each task
-- that the gate holds up: an add, an end, a job that comes back. To insert one too many costs little, and one that
-- was forgotten is made up for by the walk (see _walk_gates.sql). Nothing is unique: producers would wait for each other.

create or replace function tidemill._visit(task_id integer, gate_id bigint, at timestamptz) returns void
language plpgsql
as $$
#variable_conflict use_variable
begin
  insert into tidemill._visits (task_id, at, gate_id) values (task_id, at, gate_id);
  if not exists (
    select from tidemill._limit_tasks t where t.limit_id = (gate_id >> 40)::integer and t.task_id = task_id)
  then
    -- As with a new task, this waits for another transaction that inserts the same: once for a limit and a task.
    insert into tidemill._limit_tasks values ((gate_id >> 40)::integer, task_id) on conflict do nothing;
  end if;
  perform tidemill._notify_limited(at);
end
$$;
comment on function tidemill._visit is 'Has a gate looked at when a job that was just added is due.';

create or replace function tidemill._visit_jobs(jobs tidemill._jobs[]) returns void
language plpgsql
as $$
begin
  perform tidemill._visit(v.task_id, v.gate_id, v.run_at)
    from (select distinct j.task_id, j.gate_id, j.run_at from unnest(jobs) j where j.gate_id is not null
          order by 1, 2, 3) v;
end
$$;
comment on function tidemill._visit_jobs is 'As tidemill._visit, for each gate of these jobs and each time when one is due.';

create or replace function tidemill._visits_of_ended(gates bigint[], tasks integer[], run_ats timestamptz[])
returns setof tidemill._visits
language plpgsql
as $$
begin
  perform tidemill._notify_limited(now());
  return query
    -- At each end, without a look for jobs that wait: this statement may not see one that a claim has just passed over.
    -- Visits of other tasks pile up while these are paused or unknown to all workers: then there are enough.
    select t.task_id, now(), e.gate_id
      from (select distinct u.gate_id, u.task_id from unnest(gates, tasks) u(gate_id, task_id)) e
      cross join lateral (
        select t.task_id from tidemill._limit_tasks t where t.limit_id = (e.gate_id >> 40)::integer) t
      where t.task_id = e.task_id or coalesce(now() - interval '10 seconds' < (
        select v.at from tidemill._visits v where v.task_id = t.task_id order by v.at limit 1), true)
    union
    select u.task_id, u.run_at, u.gate_id from unnest(tasks, run_ats, gates) u(task_id, run_at, gate_id)
      where u.run_at > now();
end
$$;
comment on function tidemill._visits_of_ended is
  'The visits after attempts have ended: now, since there is room, and when a job that is tried again is due (run_ats, or NULL).';

create or replace function tidemill._visit_freed(job_ids bigint[]) returns void
language plpgsql
as $$
declare
  gates bigint[];
  tasks integer[];
begin
  select array_agg(j.gate_id), array_agg(j.task_id) into gates, tasks
    from tidemill._jobs j where j.id = any(job_ids) and j.gate_id is not null and j.locked_at is not null;
  if gates is not null then
    insert into tidemill._visits select v.* from tidemill._visits_of_ended(gates, tasks, null) v;
  end if;
end
$$;
comment on function tidemill._visit_freed is
  'The visits for the places of those of these jobs that are leased, before somebody frees them by hand. Their rows are locked.';

create or replace function tidemill._notify_limited(at timestamptz) returns void
language plpgsql
as $$
declare
  -- By epochs: before PostgreSQL 17 infinite times cannot be subtracted.
  wait constant numeric := extract(epoch from at) - extract(epoch from clock_timestamp());
begin
  -- As in _notify_workers: only idle workers ask for it, and polls find what is due in more than an hour.
  if wait < 3600 and exists (select from tidemill._listeners) then
    perform pg_notify('tidemill:limits', ceil(greatest(0, wait) * 1000)::text);
  end if;
end
$$;
comment on function tidemill._notify_limited is 'Wakes idle workers of a gate that should be looked at; the payload is in how many milliseconds.';
