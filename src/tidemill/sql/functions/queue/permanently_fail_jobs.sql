create or replace function tidemill.permanently_fail_jobs(job_ids bigint[], error_message text default null)
returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return query select * from tidemill._operate_on_jobs('permanently_fail_jobs', job_ids, error_message);
end
$$;
comment on function tidemill.permanently_fail_jobs is
$$Marks jobs as failed for good, with a message, and returns them.

Running jobs and unknown ids are passed over. To bring a failed job back, call
reschedule_jobs(ids, attempts := 0).$$;

create or replace function tidemill._fail_idle_jobs(
  job_ids bigint[], error_message text, out jobs tidemill.job[], out before jsonb
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  idle constant bigint[] := array(select tidemill._idle_jobs(job_ids));
  ended tidemill._ended_attempt[];
begin
  if tidemill._keeps_history() then
    -- With the attempts that they have begun: below all are spent.
    select array_agg(row(j.id, 'failed', null, null, coalesce(j.cancelled_after, j.attempts), null, null, null, null, null,
                         null, null)::tidemill._ended_attempt)
      into ended from tidemill._jobs j where j.id = any(idle);
  end if;
  before := tidemill._stored_in_short(idle);
  perform tidemill._visit_freed(idle);
  with failed as (
    update tidemill._jobs j set
      last_error = coalesce(tidemill._bounded_error(error_message), 'Manually marked as failed'),
      attempts = j.max_attempts, cancelled_after = null, updated_at = now(),
      locked_at = null, locked_by = null, claim_token = null, withdrawn = null
    where j.id = any(idle) returning j.*
  )
  select array_agg(r order by f.id) into jobs from failed f, tidemill._job_row(f) r;
  if ended is not null then
    perform tidemill._keep_ended(ended);
  end if;
end
$$;
