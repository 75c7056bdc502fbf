-- From private rows to the public composite.

-- In SQL and without a subquery, so that it is inlined: cheap for many rows that are already joined to their names.
-- Of a leased job it counts the attempt that has not started.
create or replace function tidemill._job_row(j tidemill._jobs, identifier text, queue_name text)
returns tidemill.job
language sql stable
as $$
  select row(
    j.id, identifier, queue_name, j.payload,
    case when j.cancelled_after is not null and j.locked_at is null then 'cancelled'
      else tidemill._state(j.locked_at, j.attempts, j.max_attempts, j.run_at) end,
    j.priority, j.run_at, coalesce(j.cancelled_after, j.attempts), j.max_attempts, j.last_error, j.created_at, j.updated_at,
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
  if j.locked_at is not null and exists (
    select from tidemill._unstarted u where u.claim_token operator(pg_catalog.=) j.claim_token)
  then
    j.attempts := j.attempts operator(pg_catalog.-) 1;
    j.cancelled_after := j.cancelled_after operator(pg_catalog.-) 1;
  end if;
  return tidemill._job_row(j, identifier, queue_name);
end
$$;

-- It is inlined into the view jobs, and read by the search path of whoever reads that.
create or replace function tidemill._state(
  locked_at timestamptz, attempts smallint, max_attempts smallint, run_at timestamptz
) returns text
language sql stable
as $$
  select case
    when locked_at is not null then 'running'
    when attempts operator(pg_catalog.>=) max_attempts then 'failed'
    when run_at operator(pg_catalog.>) pg_catalog.now() then 'scheduled'
    else 'ready'
  end
$$;

create or replace function tidemill._own_part(j tidemill._jobs, mode text) returns tidemill._jobs
language plpgsql immutable
as $$
begin
  -- A keyed add has found a job that another role may have added, and the caller may not be one who reads jobs.
  if j.revision > 0 and mode = 'unsafe_dedupe' then
    j.payload := null;
    j.flags := null;
    j.last_error := null;
  elsif j.revision > 0 and json_typeof(j.payload) = 'array' then
    -- Perhaps merged with the array that was there.
    j.payload := null;
  end if;
  return j;
end
$$;
comment on function tidemill._own_part is
  'The job after a keyed add, without what may come of others: the payload of a found job if both may be arrays; with unsafe_dedupe payload, flags and last_error.';
