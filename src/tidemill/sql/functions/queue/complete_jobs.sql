create or replace function tidemill.complete_jobs(job_ids bigint[]) returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return query select * from tidemill._operate_on_jobs('complete_jobs', job_ids);
end
$$;
comment on function tidemill.complete_jobs is
$$Marks jobs as done, which deletes them, and returns the deleted ones. History has them as removed.

Jobs that are running, and ids that do not exist, are passed over.$$;

create or replace function tidemill._complete_idle_jobs(job_ids bigint[], out jobs tidemill.job[], out before jsonb)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  idle constant bigint[] := array(select tidemill._idle_jobs(job_ids));
begin
  before := tidemill._stored_in_short(idle);
  perform tidemill._visit_freed(idle);
  if tidemill._keeps_history() then
    perform tidemill._keep_removed(idle);
  end if;
  with gone as (
    delete from tidemill._jobs j where j.id = any(idle) returning j.*
  )
  select array_agg(r order by g.id) into jobs from gone g, tidemill._job_row(g) r;
end
$$;
