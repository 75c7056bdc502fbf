create or replace function tidemill._notify_workers(run_at timestamptz) returns void
language plpgsql
as $$
declare
  -- The epochs' difference: infinite times have one, and cannot themselves be subtracted before 17.
  wait numeric := extract(epoch from run_at) - extract(epoch from clock_timestamp());
begin
  -- A notifying commit takes a lock that all of them share, so busy workers ask for none.
  -- What is due in more than an hour is found by a poll.
  if wait < 3600 and exists (select from tidemill._listeners) then
    perform pg_notify('tidemill:jobs', ceil(greatest(0, wait) * 1000)::bigint::text);
  end if;
end
$$;
comment on function tidemill._notify_workers is
  'Wakes idle workers; the payload says in how many milliseconds the earliest new job is due.';
