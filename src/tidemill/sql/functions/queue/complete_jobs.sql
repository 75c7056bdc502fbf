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
