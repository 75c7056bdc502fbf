create or replace function tidemill.add_job(
  identifier text,
  payload json default null,
  queue_name text default null,
  run_at timestamptz default null,
  max_attempts integer default null,
  job_key text default null,
  priority integer default null,
  flags text[] default null,
  job_key_mode text default 'replace',
  keep text default null,
  limit_name text default null,
  trace text default null
) returns tidemill.job
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  queue_id bigint;
  kept smallint;
  limit_id integer;
  j tidemill._jobs;
  added record;
begin
  -- Each expression costs about a microsecond, so one covers all arguments that most calls leave out.
  if num_nonnulls(queue_name, max_attempts, job_key, priority, flags, keep, limit_name, trace) > 0 then
    if not tidemill._job_fits(identifier, queue_name, max_attempts, job_key, priority, flags) then
      perform tidemill._refuse_job(identifier, queue_name, max_attempts, job_key, priority, flags);
    end if;
    if job_key is not null then
      perform tidemill._check_job_key_mode(job_key_mode, '');
    end if;
    queue_id := tidemill._queue_id(queue_name);
    flags := tidemill._normal_flags(flags);
    kept := tidemill._keep_of(keep);
    trace := tidemill._checked_trace(trace);
    limit_id := tidemill._limit_id(limit_name);
  end if;

  if job_key is null then
    loop
      insert into tidemill._jobs as i
          (queue_id, task_id, priority, max_attempts, run_at, payload, flags, keep, trace, gate_id)
        select queue_id, t.id, coalesce(priority, 0), coalesce(max_attempts, 25),
               coalesce(run_at, now()), coalesce(payload, '{}'), flags, kept, trace,
               case when coalesce(t.limit_id, limit_id) is not null then
                 tidemill._gate_id(t.limit_id, limit_id, identifier, queue_name, coalesce(payload, '{}')) end
          from tidemill._tasks t where t.identifier = identifier
        -- One statement less than a look of its own.
        returning tidemill._job_row(i, identifier, queue_name) as job, i.task_id, i.gate_id,
                  exists (select from tidemill._listeners) as notifies into added;
      exit when found;
      -- The identifier of a known task is valid; a new one may not be.
      perform tidemill._refuse_job(identifier, queue_name, max_attempts, job_key, priority, flags);
      perform tidemill._task_id(identifier);
    end loop;
  else
    j.queue_id := queue_id;
    select t.id, case when coalesce(t.limit_id, limit_id) is not null then
             tidemill._gate_id(t.limit_id, limit_id, identifier, queue_name, coalesce(payload, '{}')) end
      into j.task_id, j.gate_id
      from tidemill._task(identifier) t;
    j.priority := coalesce(priority, 0);
    j.max_attempts := coalesce(max_attempts, 25);
    j.run_at := coalesce(run_at, now());
    j.key := job_key;
    j.payload := coalesce(payload, '{}');
    j.flags := flags;
    j.keep := kept;
    j.trace := trace;
    j := tidemill._own_part(tidemill._add_keyed_job(j, coalesce(job_key_mode, 'replace')), job_key_mode);
    select case job_key_mode
             -- The job that was found may be of another task and queue.
             when 'unsafe_dedupe' then tidemill._job_row(j)
             else tidemill._job_row(j, identifier, queue_name) end as job, j.task_id, j.gate_id,
           exists (select from tidemill._listeners) as notifies into added;
  end if;

  if added.gate_id is not null then
    perform tidemill._visit(added.task_id, added.gate_id, (added.job).run_at);
  elsif added.notifies then
    -- The order of claims, in which the payload names a place, is without named queues.
    perform tidemill._notify_workers(
      (added.job).run_at, case when (added.job).queue_name is null then (added.job).priority end, 0);
  end if;
  return added.job;
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
flags         workers started with --forbid-flag skip jobs that carry one of theirs; at most
              100 of at most 128 characters
job_key_mode  replace (default), preserve_run_at, or unsafe_dedupe
keep          how long tidemill.job_history has it: an interval such as '1 week', 'forever' or 'none'; default
              as its task and worker say
limit_name    the limit that the job has, made by tidemill.set_limit; default that of its task
trace         the trace context of the caller, a W3C traceparent; at most 512 characters

If a keyed add finds a job, it returns nothing that others have given: the payload is NULL if it is
an array, since it may have been merged; with unsafe_dedupe payload, flags and last_error are NULL.
Read tidemill.jobs instead.

Errors: 23502 identifier missing, 23514 a text too long or max_attempts below 1,
22003 a number out of range, 22023 a null flag, no keep, an unknown limit, a limited job in a named queue, or
a payload without the field by which its limit counts; GWBKM an unknown job_key_mode.
Behaviour follows Graphile Worker's function of that name.$$;
