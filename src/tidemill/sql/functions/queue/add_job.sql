create or replace function tidemill.add_job(
  identifier text,
  payload json default null,
  queue_name text default null,
  run_at timestamptz default null,
  max_attempts integer default null,
  job_key text default null,
  priority integer default null,
  flags text[] default null,
  job_key_mode text default 'replace'
) returns tidemill.job
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  j tidemill._jobs;
begin
  if not tidemill._job_fits(identifier, queue_name, max_attempts, job_key, priority, flags) then
    perform tidemill._refuse_job(identifier, queue_name, max_attempts, job_key, priority, flags);
  end if;

  j.task_id := tidemill._task_id(identifier);
  j.queue_id := tidemill._queue_id(queue_name);
  j.payload := coalesce(payload, '{}');
  j.run_at := coalesce(run_at, now());
  j.max_attempts := coalesce(max_attempts, 25);
  j.priority := coalesce(priority, 0);
  j.flags := tidemill._normal_flags(flags);

  if job_key is null then
    insert into tidemill._jobs as i (queue_id, task_id, priority, max_attempts, run_at, payload, flags)
      values (j.queue_id, j.task_id, j.priority, j.max_attempts, j.run_at, j.payload, j.flags)
      returning i.* into j;
  else
    perform tidemill._check_job_key_mode(job_key_mode, '');
    j.key := job_key;
    j := tidemill._as_caller_may_see(tidemill._add_keyed_job(j, coalesce(job_key_mode, 'replace')));
  end if;

  perform tidemill._notify_workers(j.run_at);
  return tidemill._job_row(j);
end
$$;
comment on function tidemill.add_job is
$$Adds one job, in the caller's transaction, and returns it.

identifier    name of the task to run, at most 128 characters; required
payload       JSON handed to the task; default {}. An array is a batch job
queue_name    jobs of one named queue run one at a time; default none
run_at        earliest start; default now() (the start of the transaction)
max_attempts  1 to 32767; default 25
job_key       1 to 512 characters; a later add with the same key changes this job
priority      -32768 to 32767, smaller first; default 0
flags         workers started with --forbid-flag skip jobs that carry one of theirs
job_key_mode  replace (default), preserve_run_at, or unsafe_dedupe

A caller who may not read tidemill.jobs gets a job that was there before without its
payload, flags and last_error.

Errors: 23502 identifier missing, 23514 a text too long or max_attempts below 1,
22003 a number out of range, 22023 a null flag, GWBKM an unknown job_key_mode.
Behaviour follows Graphile Worker's function of that name.$$;
