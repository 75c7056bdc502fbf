create or replace function tidemill.force_unlock_workers(worker_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._operator_requests (verb, names) values ('force_unlock_workers', worker_ids);
end
$$;
comment on function tidemill.force_unlock_workers is
$$Frees all jobs and queues that these workers (tidemill.workers.id, locked_by) hold.

Attempts that have begun stay spent, and run_at is kept. Use it for workers that are gone: one that is still alive
finishes its jobs, but its completions are refused.$$;

create or replace function tidemill._unlock_workers(who name, worker_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  freed bigint;
begin
  perform tidemill._release_leases(worker_ids, false, 'its lease was taken away by force_unlock_workers');
  get diagnostics freed = row_count;
  if cardinality(worker_ids) > 0 then
    perform tidemill._note_act(
      who, 'force_unlock_workers', worker_ids, cardinality(worker_ids),
      after => jsonb_build_object('freed_jobs', freed));
  end if;
end
$$;
