create or replace function tidemill.force_unlock_workers(worker_ids text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._release_leases(worker_ids, false, 'its lease was taken away by force_unlock_workers');
end
$$;
comment on function tidemill.force_unlock_workers is
$$Frees all jobs and queues that these workers (tidemill.workers.id, locked_by) hold.

Attempts that have begun stay spent, and run_at is kept. Use it for workers that are gone: one that is still alive
finishes its jobs, but its completions are refused.$$;
