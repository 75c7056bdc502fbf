create or replace function tidemill.cancel_jobs(job_ids bigint[], reason text default null)
returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return query select * from tidemill._operate_on_jobs('cancel_jobs', job_ids, reason);
end
$$;
comment on function tidemill.cancel_jobs is
$$Cancels jobs and returns them: waiting ones at once, running ones are asked to stop.

The worker that runs a job learns of it by a notification, or with its next
heartbeat: it cancels an async task, and sets a flag that a plain function can read. A
cancelled job is not retried, whatever its outcome. Its state becomes cancelled, its last_error
'Cancelled: reason', and its attempts are those that it had begun. reschedule_jobs(ids, attempts := 0)
brings it back. Jobs that have failed for good or are cancelled, unknown ids, and rows that another transaction holds
are passed over.$$;

create or replace function tidemill._cancel_open_jobs(
  job_ids bigint[], reason text, out jobs tidemill.job[], out before jsonb
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- Passes over locked rows, as _idle_jobs does, but not over running jobs.
  asked constant bigint[] := array(
    select j.id from tidemill._jobs j
    where j.id = any(job_ids) and (j.locked_at is not null or j.attempts < j.max_attempts)
    order by j.id
    for update skip locked);
begin
  before := tidemill._stored_in_short(asked);
  perform tidemill._visit_freed(array(
    select j.id from tidemill._jobs j
    where j.id = any(asked) and j.locked_at is not null and tidemill._lease_ended(j.locked_at, j.locked_by)));
  with cancelled as (
    update tidemill._jobs j set
      cancelled_after = coalesce(j.cancelled_after, j.attempts), attempts = j.max_attempts,
      last_error = tidemill._bounded_error('Cancelled' || coalesce(': ' || nullif(reason, ''), '')),
      updated_at = now(),
      withdrawn = case when not a.idle then 'cancelled' end,
      locked_at = case when not a.idle then j.locked_at end,
      locked_by = case when not a.idle then j.locked_by end,
      claim_token = case when not a.idle then j.claim_token end
    from (
      select o.id, tidemill._lease_ended(o.locked_at, o.locked_by) as idle
      from tidemill._jobs o where o.id = any(asked)
    ) a
    where j.id = a.id returning j.*
  )
  select array_agg(r order by c.id) into jobs from cancelled c, tidemill._job_row(c) r;

  -- In parts, since a notification holds less than 8,000 bytes.
  perform pg_notify('tidemill:cancel', string_agg(r.id::text, ','))
    from (select c.id, row_number() over () / 390 as part from unnest(jobs) c where c.locked_at is not null) r
    group by r.part;
  if tidemill._keeps_history() then
    -- Of the others the worker tells.
    perform tidemill._keep_ends(array(select c.id from unnest(jobs) c where c.locked_at is null), 'cancelled');
  end if;
end
$$;
