create or replace function tidemill.remove_job(job_key text) returns tidemill.job
language plpgsql strict set search_path = pg_catalog, pg_temp
as $$
declare
  asked record;
begin
  insert into tidemill._operator_requests as q (verb, names) values ('remove_job', array[job_key])
    returning q.jobs into asked;
  return asked.jobs[1];
end
$$;
comment on function tidemill.remove_job is
$$Removes the job of a key and returns it; a row of NULLs if there is none.

A running job cannot be removed: it loses its key and is not retried.
Waits for a transaction that holds the job. NULL returns NULL.$$;

create or replace function tidemill._remove_keyed_job(job_key text, out jobs tidemill.job[], out before jsonb)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  j tidemill._jobs;
begin
  loop
    select o.* into j from tidemill._jobs o where o.key = job_key for update;
    -- While we waited for the row, it may have lost its key to a newer job: then look again.
    exit when found or not exists (select from tidemill._jobs o where o.key = job_key);
  end loop;

  if j.id is null then
    return;
  end if;
  before := tidemill._stored_in_short(array[j.id]);
  if tidemill._lease_ended(j.locked_at, j.locked_by) then
    perform tidemill._visit_freed(array[j.id]);
    if tidemill._keeps_history() then
      perform tidemill._keep_removed(array[j.id]);
    end if;
    delete from tidemill._jobs o where o.id = j.id;
  else
    update tidemill._jobs o set
        key = null, attempts = o.max_attempts, withdrawn = coalesce(o.withdrawn, 'removed'), updated_at = now()
      where o.id = j.id returning o.* into j;
  end if;
  jobs := array[tidemill._job_row(j)];
end
$$;
