create or replace function tidemill._notify_workers(run_at timestamptz, priority smallint, id bigint)
returns void
language plpgsql
as $$
declare
  -- By epochs: before PostgreSQL 17 infinite times cannot be subtracted.
  epoch numeric := extract(epoch from run_at);
  wait numeric := epoch - extract(epoch from clock_timestamp());
  told text := ceil(greatest(0, wait) * 1000);
begin
  -- A commit that notifies takes a lock of the whole server, so only idle workers ask for it.
  -- Polls find jobs that are due in more than an hour.
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

With a priority and an id, the payload continues with priority, run_at (microseconds since
1970) and id: no new job comes before these in the order of claims. PostgreSQL sends equal
payloads once in a transaction, so give 0 as the id if many jobs may be added.$$;

create or replace function tidemill._notify_workers(run_at timestamptz) returns void
language plpgsql
as $$
begin
  perform tidemill._notify_workers(run_at, null, null);
end
$$;
comment on function tidemill._notify_workers(timestamptz) is
  'Wakes idle workers of jobs that may stand anywhere in the order of claims.';
