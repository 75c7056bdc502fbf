create or replace function tidemill.reschedule_jobs(
  job_ids bigint[],
  run_at timestamptz default null,
  priority integer default null,
  attempts integer default null,
  max_attempts integer default null
) returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return query select * from tidemill._operate_on_jobs(
    'reschedule_jobs', job_ids, null, run_at, priority, attempts, max_attempts);
end
$$;
comment on function tidemill.reschedule_jobs is
$$Changes when and how jobs run, and returns them; a NULL argument leaves its column as it is.

run_at, priority, attempts (used up so far; 0 gives all of them again) and
max_attempts. A job that keeps used attempts keeps its slot; else run_at is its slot from now on. Also brings back jobs that failed for good, and with attempts those that were cancelled. Running jobs and
unknown ids are passed over. Errors: 22003, 23514.$$;

create or replace function tidemill._reschedule_idle_jobs(
  job_ids bigint[], run_at timestamptz, priority integer, attempts integer, max_attempts integer,
  out jobs tidemill.job[], out before jsonb
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due timestamptz;
  idle bigint[];
begin
  if not tidemill._job_fits('', null, _reschedule_idle_jobs.max_attempts, null, _reschedule_idle_jobs.priority, null) then
    perform tidemill._refuse_job(
      '', null, _reschedule_idle_jobs.max_attempts, null, _reschedule_idle_jobs.priority, null);
  end if;
  if _reschedule_idle_jobs.attempts not between -32768 and 32767 then
    raise exception using errcode = 'numeric_value_out_of_range',
      message = format('attempts %s is out of range', _reschedule_idle_jobs.attempts),
      hint = 'Use -32768 to 32767; 0 gives a job all of its attempts again.';
  end if;

  idle := array(select tidemill._idle_jobs(job_ids));
  before := tidemill._stored_in_short(idle);
  perform tidemill._visit_freed(idle);
  with updated as (
    update tidemill._jobs j set
      run_at = coalesce(_reschedule_idle_jobs.run_at, j.run_at),
      -- With all of its attempts again it is as new, and its time with it.
      slot = case when coalesce(_reschedule_idle_jobs.attempts, j.attempts) > 0 then coalesce(j.slot, j.run_at) end,
      priority = coalesce(_reschedule_idle_jobs.priority::smallint, j.priority),
      attempts = coalesce(
        _reschedule_idle_jobs.attempts::smallint,
        -- A cancelled job has none left, whatever the new limit.
        case when j.cancelled_after is not null then _reschedule_idle_jobs.max_attempts::smallint end, j.attempts),
      cancelled_after = case when _reschedule_idle_jobs.attempts is null then j.cancelled_after end,
      max_attempts = coalesce(_reschedule_idle_jobs.max_attempts::smallint, j.max_attempts),
      locked_at = null, locked_by = null, claim_token = null, withdrawn = null,
      updated_at = now()
    where j.id = any(idle) returning j.*
  )
  select array_agg(r order by u.id), min(u.run_at) into jobs, due from updated u, tidemill._job_row(u) r;
  if due is not null then
    perform tidemill._notify_workers(due);
    perform tidemill._visit_jobs(g.jobs)
      from (select array_agg(j) as jobs from tidemill._jobs j where j.id = any(idle) and j.gate_id is not null) g
      where g.jobs is not null;
  end if;
end
$$;
