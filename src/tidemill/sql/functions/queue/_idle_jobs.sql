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
