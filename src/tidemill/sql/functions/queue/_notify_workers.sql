create or replace function tidemill._notify_workers(run_at timestamptz, priority smallint, id bigint)
returns void
language plpgsql
as $$
declare
  -- The epochs' difference: infinite times have one, and cannot themselves be subtracted before 17.
  epoch numeric := extract(epoch from run_at);
  wait numeric := epoch - extract(epoch from clock_timestamp());
  told text := ceil(greatest(0, wait) * 1000);
begin
  -- A notifying commit takes a lock that all of them share, so busy workers ask for none.
  -- What is due in more than an hour is found by a poll.
  if wait < 3600 and exists (select from tidemill._listeners) then
    -- A worker cannot hold a time before the year 1.
    if priority is not null and id is not null and run_at >= '0001-01-02 00:00+00' then
      told := concat_ws(' ', told, priority, (epoch * 1000000)::bigint, id);
    end if;
    perform pg_notify('tidemill:jobs', told);
  end if;
end
$$;
comment on function tidemill._notify_workers(timestamptz, smallint, bigint) is
$$Wakes idle workers; the payload says in how many milliseconds the earliest new job is due.

With a priority and an id, the payload goes on with priority, run_at (microseconds since
1970) and id: no new job comes before these in the order of claims. If they are NULL, new jobs
may stand anywhere. Payloads that are alike are sent once in a transaction, so give 0 as the id
where many jobs may be added.$$;
