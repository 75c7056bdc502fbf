-- Graphile Worker's names over Tidemill's functions: wrappers only, no logic.

do $$
begin
  if to_regtype('graphile_worker.job_spec') is null then
    create type graphile_worker.job_spec as (
      identifier text,
      payload json,
      queue_name text,
      run_at timestamptz,
      max_attempts smallint,
      job_key text,
      priority smallint,
      flags text[]
    );
  end if;
end
$$;

create or replace function graphile_worker._flags_object(flags text[]) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select jsonb_object_agg(f, true) from unnest(flags) f $$;

create or replace view graphile_worker.jobs as
select
  j.id,
  j.queue_name,
  j.identifier as task_identifier,
  j.priority,
  j.run_at,
  case j.state when 'cancelled' then j.max_attempts else j.attempts end as attempts,
  j.max_attempts,
  j.last_error,
  j.created_at,
  j.updated_at,
  j.key,
  j.locked_at,
  j.locked_by,
  j.revision,
  graphile_worker._flags_object(j.flags) as flags
from tidemill.jobs j;
comment on view graphile_worker.jobs is 'The queue with Graphile Worker''s columns. Natively: tidemill.jobs.';

create or replace view graphile_worker._private_tasks as
select t.id, t.identifier from tidemill._tasks t;

create or replace view graphile_worker._private_job_queues as
select q.id::integer as id, q.queue_name, q.locked_at, q.locked_by, q.locked_at is null as is_available
from tidemill._queues q;

create or replace view graphile_worker._private_known_crontabs as
select k.identifier, k.known_since, k.last_execution from tidemill._known_crontabs k;

create or replace view graphile_worker._private_jobs as
select
  j.id,
  j.queue_id::integer as job_queue_id,
  j.task_id,
  j.payload,
  j.priority,
  j.run_at,
  j.attempts,
  j.max_attempts,
  j.last_error,
  j.created_at,
  j.updated_at,
  j.key,
  j.locked_at,
  j.locked_by,
  j.revision,
  graphile_worker._flags_object(j.flags) as flags,
  j.locked_at is null and j.attempts < j.max_attempts as is_available
from tidemill._jobs j;
comment on view graphile_worker._private_jobs is
  'Row type of the functions below, and for reading payloads. Writing goes through the functions.';

-- Here and in add_job PL/pgSQL, which keeps its plans; before PostgreSQL 18, functions in SQL do not.
create or replace function graphile_worker._row(j tidemill.job) returns graphile_worker._private_jobs
-- Who may operate need not read the private tables.
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  r graphile_worker._private_jobs;
begin
  if j.id is null then
    return null;
  end if;
  if j.queue_name is not null then
    select q.id into r.job_queue_id from tidemill._queues q where q.queue_name = j.queue_name;
  end if;
  select t.id into r.task_id from tidemill._tasks t where t.identifier = j.identifier;
  r.id := j.id;
  r.payload := j.payload;
  r.priority := j.priority;
  r.run_at := j.run_at;
  r.attempts := case j.state when 'cancelled' then j.max_attempts else j.attempts end;
  r.max_attempts := j.max_attempts;
  r.last_error := j.last_error;
  r.created_at := j.created_at;
  r.updated_at := j.updated_at;
  r.key := j.key;
  r.locked_at := j.locked_at;
  r.locked_by := j.locked_by;
  r.revision := j.revision;
  if j.flags is not null then
    r.flags := graphile_worker._flags_object(j.flags);
  end if;
  r.is_available := r.locked_at is null and r.attempts < r.max_attempts;
  return r;
end
$$;

create or replace function graphile_worker.add_job(
  identifier text,
  payload json default null,
  queue_name text default null,
  run_at timestamptz default null,
  max_attempts integer default null,
  job_key text default null,
  priority integer default null,
  flags text[] default null,
  job_key_mode text default 'replace'
) returns graphile_worker._private_jobs
-- As tidemill.add_job: who may add need not read.
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return graphile_worker._row(tidemill.add_job(
    identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, job_key_mode));
end
$$;
comment on function graphile_worker.add_job is 'tidemill.add_job.';

create or replace function graphile_worker.add_jobs(
  specs graphile_worker.job_spec[],
  job_key_preserve_run_at boolean default false
) returns setof graphile_worker._private_jobs
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  select r.*
  from tidemill.add_jobs(
    array(select row(s.identifier, s.payload, s.queue_name, s.run_at, s.max_attempts, s.job_key, s.priority, s.flags)
                   ::tidemill.job_spec
          from unnest(specs) with ordinality
            s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
          order by s.place),
    job_key_preserve_run_at) j,
  graphile_worker._row(j) r
$$;
comment on function graphile_worker.add_jobs is 'tidemill.add_jobs; rows come back in the order of the specs.';

create or replace function graphile_worker.remove_job(job_key text) returns graphile_worker._private_jobs
language sql strict set search_path = pg_catalog, pg_temp
as $$ select graphile_worker._row(tidemill.remove_job(job_key)) $$;
comment on function graphile_worker.remove_job is 'tidemill.remove_job.';

create or replace function graphile_worker.complete_jobs(job_ids bigint[])
returns setof graphile_worker._private_jobs
language sql set search_path = pg_catalog, pg_temp
as $$ select r.* from tidemill.complete_jobs(job_ids) j, graphile_worker._row(j) r $$;
comment on function graphile_worker.complete_jobs is 'tidemill.complete_jobs.';

create or replace function graphile_worker.permanently_fail_jobs(
  job_ids bigint[], error_message text default null
) returns setof graphile_worker._private_jobs
language sql set search_path = pg_catalog, pg_temp
as $$ select r.* from tidemill.permanently_fail_jobs(job_ids, error_message) j, graphile_worker._row(j) r $$;
comment on function graphile_worker.permanently_fail_jobs is 'tidemill.permanently_fail_jobs.';

create or replace function graphile_worker.reschedule_jobs(
  job_ids bigint[],
  run_at timestamptz default null,
  priority integer default null,
  attempts integer default null,
  max_attempts integer default null
) returns setof graphile_worker._private_jobs
language sql set search_path = pg_catalog, pg_temp
as $$
  select r.*
  from tidemill.reschedule_jobs(job_ids, run_at, priority, attempts, max_attempts) j, graphile_worker._row(j) r
$$;
comment on function graphile_worker.reschedule_jobs is 'tidemill.reschedule_jobs.';

create or replace function graphile_worker.force_unlock_workers(worker_ids text[]) returns void
language sql set search_path = pg_catalog, pg_temp
as $$ select tidemill.force_unlock_workers(worker_ids) $$;
comment on function graphile_worker.force_unlock_workers is 'tidemill.force_unlock_workers.';

-- They are for the roles that were granted them: see tidemill._rights_of.
revoke all on all routines in schema graphile_worker from public;
