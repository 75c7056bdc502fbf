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
      -- With all of its attempts again it is as new, and its time with it.
      slot = case when coalesce(reschedule_jobs.attempts, j.attempts) > 0 then coalesce(j.slot, j.run_at) end,
      priority = coalesce(reschedule_jobs.priority::smallint, j.priority),
      attempts = coalesce(
        reschedule_jobs.attempts::smallint,
        -- A cancelled job has none left, whatever the new limit.
        case when j.cancelled_after is not null then reschedule_jobs.max_attempts::smallint end, j.attempts),
      cancelled_after = case when reschedule_jobs.attempts is null then j.cancelled_after end,
      max_attempts = coalesce(reschedule_jobs.max_attempts::smallint, j.max_attempts),
      locked_at = null, locked_by = null, claim_token = null, withdrawn = null,
      updated_at = now()
    from tidemill._idle_jobs(job_ids) i(id)
    where j.id = i.id returning j.*
  )
  select array_agg(u order by u.id), min(u.run_at) into changed, due from updated u;
  if due is not null then
    perform tidemill._notify_workers(due);
    perform tidemill._visit_jobs(changed) from unnest(changed) c where c.gate_id is not null limit 1;
  end if;
  return query select r.* from unnest(changed) c, tidemill._job_row(c) r;
end
$$;
comment on function tidemill.reschedule_jobs is
$$Changes when and how jobs run, and returns them; a NULL argument leaves its column as it is.

run_at, priority, attempts (used up so far; 0 gives all of them again) and
max_attempts. A job that keeps used attempts keeps its slot; else run_at is its slot from now on. Also brings back jobs that failed for good, and with attempts those that were cancelled. Running jobs and
unknown ids are passed over. Errors: 22003, 23514.$$;
