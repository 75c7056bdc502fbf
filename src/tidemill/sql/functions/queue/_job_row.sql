-- From private rows to the public composite.

-- In SQL, so that it is inlined: cheap for many rows that are already joined to their names.
create or replace function tidemill._job_row(j tidemill._jobs, identifier text, queue_name text)
returns tidemill.job
language sql stable
as $$
  select row(
    j.id, identifier, queue_name, j.payload,
    tidemill._state(j.locked_at, j.attempts, j.max_attempts, j.run_at),
    j.priority, j.run_at, j.attempts, j.max_attempts, j.last_error, j.created_at, j.updated_at,
    j.key, j.locked_at, j.locked_by, j.revision, j.flags
  )::tidemill.job
$$;

-- PL/pgSQL keeps its plans; before PostgreSQL 18, functions in SQL do not.
create or replace function tidemill._job_row(j tidemill._jobs) returns tidemill.job
language plpgsql stable
as $$
declare
  identifier text;
  queue_name text;
begin
  select t.identifier into identifier from tidemill._tasks t where t.id = j.task_id;
  if j.queue_id is not null then
    select q.queue_name into queue_name from tidemill._queues q where q.id = j.queue_id;
  end if;
  return tidemill._job_row(j, identifier, queue_name);
end
$$;

create or replace function tidemill._state(
  locked_at timestamptz, attempts smallint, max_attempts smallint, run_at timestamptz
) returns text
language sql stable
as $$
  select case
    when locked_at is not null then 'running'
    when attempts >= max_attempts then 'failed'
    when run_at > now() then 'scheduled'
    else 'ready'
  end
$$;

create or replace function tidemill._as_caller_may_see(j tidemill._jobs) returns tidemill._jobs
language plpgsql stable
as $$
begin
  -- A keyed add may return a job that another role has added. In a SECURITY DEFINER function
  -- current_user is the definer: the caller is the role that was set, or the session's.
  if j.revision > 0 and not has_table_privilege(
    coalesce(nullif(current_setting('role'), 'none'), session_user), 'tidemill.jobs', 'select')
  then
    j.payload := null;
    j.flags := null;
    j.last_error := null;
  end if;
  return j;
end
$$;
comment on function tidemill._as_caller_may_see is
  'The job, without payload, flags and last_error if a keyed add found it there and the caller may not read tidemill.jobs.';
