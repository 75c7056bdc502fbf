-- The end of an express batch, in the transaction that holds its row locks: so it
-- checks no claim token, and waits for no other transaction.

create or replace function tidemill._settle_batch(
  worker_id text, token bigint, done bigint[], started bigint[], queues bigint[]
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  delete from tidemill._jobs j where j.id = any(done);
  if started <> '{}' then
    update tidemill._jobs j set
        attempts = j.attempts + 1, locked_at = clock_timestamp(), locked_by = worker_id, claim_token = token
      where j.id = any(started);
    update tidemill._queues q set
        locked_at = clock_timestamp(), locked_by = worker_id, claim_token = token
      where q.id = any(queues);
  end if;
end
$$;
comment on function tidemill._settle_batch is
$$Ends an express batch: deletes jobs that are done, and leases those that are running or
failed, with the named queues of the running ones. At the commit all other jobs of the batch are free again, unchanged.$$;
