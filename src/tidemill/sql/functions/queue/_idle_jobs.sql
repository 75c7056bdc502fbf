-- Which jobs the admin functions may change. Locked rows are passed over as
-- running: a job may call these on itself from another connection, and would wait forever.

create or replace function tidemill._idle_jobs(job_ids bigint[]) returns setof bigint
language sql
as $$
  select j.id from tidemill._jobs j
  where j.id = any(job_ids) and tidemill._lease_ended(j.locked_at, j.locked_by)
  order by j.id
  for update skip locked
$$;
comment on function tidemill._idle_jobs is 'Locks and returns those of the jobs that are not running.';
