-- Administration by id. Rows that somebody holds are passed over as running:
-- a job may call these on itself from another connection, and must not wait.

create or replace function tidemill._idle_jobs(job_ids bigint[]) returns setof bigint
language sql
as $$
  select j.id from tidemill._jobs j
  where j.id = any(job_ids) and tidemill._lease_ended(j.locked_at, j.locked_by)
  order by j.id
  for update skip locked
$$;
comment on function tidemill._idle_jobs is 'Locks and returns those of the jobs that nobody runs.';

create or replace function tidemill.complete_jobs(job_ids bigint[]) returns setof tidemill.job
language sql set search_path = pg_catalog, pg_temp
as $$
  with gone as (
    delete from tidemill._jobs j using tidemill._idle_jobs(job_ids) i(id)
    where j.id = i.id returning j.*
  )
  select r.* from gone g, tidemill._job_row(g) r order by g.id
$$;
comment on function tidemill.complete_jobs is
$$Marks jobs as done, which deletes them, and returns the deleted ones.

Jobs that are running, and ids that do not exist, are passed over.$$;

create or replace function tidemill.permanently_fail_jobs(job_ids bigint[], error_message text default null)
returns setof tidemill.job
language sql set search_path = pg_catalog, pg_temp
as $$
  with failed as (
    update tidemill._jobs j set
      last_error = coalesce(error_message, 'Manually marked as failed'),
      attempts = j.max_attempts, updated_at = now(),
      locked_at = null, locked_by = null, claim_token = null, withdrawn = null
    from tidemill._idle_jobs(job_ids) i(id)
    where j.id = i.id returning j.*
  )
  select r.* from failed f, tidemill._job_row(f) r order by f.id
$$;
comment on function tidemill.permanently_fail_jobs is
$$Marks jobs as failed for good, with a message, and returns them.

Running jobs and unknown ids are passed over. reschedule_jobs(ids, attempts := 0)
brings a failed job back.$$;

create or replace function tidemill.reschedule_jobs(
  job_ids bigint[],
  run_at timestamptz default null,
  priority integer default null,
  attempts integer default null,
  max_attempts integer default null
) returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due timestamptz;
  changed tidemill._jobs[];
begin
  if not tidemill._job_fits('', null, reschedule_jobs.max_attempts, null, reschedule_jobs.priority, null) then
    perform tidemill._refuse_job(
      '', null, reschedule_jobs.max_attempts, null, reschedule_jobs.priority, null);
  end if;
  if reschedule_jobs.attempts not between -32768 and 32767 then
    raise exception using errcode = 'numeric_value_out_of_range',
      message = format('attempts %s is out of range', reschedule_jobs.attempts),
      hint = 'Use -32768 to 32767; 0 gives a job all of its attempts again.';
  end if;

  with updated as (
    update tidemill._jobs j set
      run_at = coalesce(reschedule_jobs.run_at, j.run_at),
      priority = coalesce(reschedule_jobs.priority::smallint, j.priority),
      attempts = coalesce(reschedule_jobs.attempts::smallint, j.attempts),
      max_attempts = coalesce(reschedule_jobs.max_attempts::smallint, j.max_attempts),
      locked_at = null, locked_by = null, claim_token = null, withdrawn = null,
      updated_at = now()
    from tidemill._idle_jobs(job_ids) i(id)
    where j.id = i.id returning j.*
  )
  select array_agg(u order by u.id), min(u.run_at) into changed, due from updated u;
  if due is not null then
    perform tidemill._notify_workers(due);
  end if;
  return query select r.* from unnest(changed) c, tidemill._job_row(c) r;
end
$$;
comment on function tidemill.reschedule_jobs is
$$Changes when and how jobs run, and returns them; a NULL argument leaves its column as it is.

run_at, priority, attempts (used up so far; 0 gives all of them again) and
max_attempts. Also brings back jobs that failed for good. Running jobs and
unknown ids are passed over. Errors: 22003, 23514.$$;

create or replace function tidemill.cancel_jobs(job_ids bigint[], reason text default null)
returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  changed tidemill._jobs[];
begin
  with asked as (
    select j.id, tidemill._lease_ended(j.locked_at, j.locked_by) as idle
    from tidemill._jobs j
    where j.id = any(job_ids) and (j.locked_at is not null or j.attempts < j.max_attempts)
    order by j.id
    for update skip locked
  ),
  cancelled as (
    update tidemill._jobs j set
      attempts = j.max_attempts, last_error = 'Cancelled' || coalesce(': ' || nullif(reason, ''), ''),
      updated_at = now(),
      withdrawn = case when not a.idle then 'cancelled' end,
      locked_at = case when not a.idle then j.locked_at end,
      locked_by = case when not a.idle then j.locked_by end,
      claim_token = case when not a.idle then j.claim_token end
    from asked a where j.id = a.id returning j
  )
  select array_agg(c.j order by (c.j).id) into changed from cancelled c;

  -- In parts, for a notification holds less than 8,000 bytes.
  perform pg_notify('tidemill:cancel', string_agg(r.id::text, ','))
    from (select c.id, row_number() over () / 390 as part from unnest(changed) c where c.locked_at is not null) r
    group by r.part;
  return query select r.* from unnest(changed) c, tidemill._job_row(c) r;
end
$$;
comment on function tidemill.cancel_jobs is
$$Cancels jobs and returns them: waiting ones fail for good at once, running ones are asked to stop.

The worker that runs a job learns of it by a notification, or with its next
heartbeat: an async task is cancelled, a plain function is told. A running job
that is cancelled is not retried whatever its outcome. reason goes to last_error.
Jobs that failed for good before, unknown ids, and rows that another
transaction holds are passed over.$$;

create or replace function tidemill.force_unlock_workers(worker_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._release_leases(worker_ids, false, 'its lease was taken away by force_unlock_workers');
end
$$;
comment on function tidemill.force_unlock_workers is
$$Frees all jobs and queues that these workers (tidemill.workers.id, locked_by) hold.

Attempts stay spent, and run_at is kept. A worker that is still alive finishes what it runs, but
its completions are refused: use it for workers that are gone.$$;
