-- Counters: what workers have counted, added to the minutes; and what becomes of old minutes.

create or replace function tidemill._count_attempts(counts json) returns void
language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
  insert into tidemill._task_minutes as m
    select date_bin('1 minute', statement_timestamp() - make_interval(secs => c.age), '2000-01-01Z') as minute, c.identifier,
           sum(c.done), sum(c.failed), sum(c.retried), sum(c.cancelled),
           make_interval(secs => sum(c.run_seconds)), make_interval(secs => max(c.longest)),
           -- 4,000 years in a minute: those of an hour still make an interval.
           make_interval(secs => least(sum(c.wait_seconds), 4000 * 365.25 * 86400)),
           tidemill.histogram_sum(c.runs), tidemill.histogram_sum(c.waits)
    from json_to_recordset(counts) c (
      age double precision, identifier text, done bigint, failed bigint, retried bigint, cancelled bigint,
      run_seconds double precision, longest double precision, wait_seconds double precision,
      runs bigint[], waits bigint[])
    group by 1, 2
    -- In one order everywhere, or two workers would deadlock.
    order by 1, 2
  on conflict (minute, identifier) do update set
    done = m.done + excluded.done, failed = m.failed + excluded.failed, retried = m.retried + excluded.retried,
    cancelled = m.cancelled + excluded.cancelled, run_time = m.run_time + excluded.run_time,
    longest_run = greatest(m.longest_run, excluded.longest_run), wait_time = least(m.wait_time + excluded.wait_time, make_interval(secs => 4000 * 365.25 * 86400)),
    runs = tidemill._added(m.runs, excluded.runs), waits = tidemill._added(m.waits, excluded.waits)
$$;
comment on function tidemill._count_attempts is
$$Adds what a worker has counted since it did so last: one object for each task, and time.

age  how many seconds ago it was counted; times are in seconds, histograms as in tidemill.task_stats

Waits for a lock for 0.1 seconds at most, then fails with 55P03 and has added nothing: the worker keeps its counts.$$;

create or replace function tidemill._roll_up_counts(most integer default 5000) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' set enable_seqscan = off
as $$
declare
  places tid[] := array(
    select m.ctid from tidemill._task_minutes m
    where m.minute < date_bin('1 hour', now() - interval '2 days', '2000-01-01Z')
    order by m.minute, m.identifier limit most
    -- Another worker may be at it.
    for update skip locked);
begin
  if places = '{}' and not exists (select from tidemill._task_hours h where h.hour < now() - interval '30 days') then
    -- A worker that ends soon need not plan what has nothing to do.
    return false;
  end if;
  with old as (delete from tidemill._task_minutes m where m.ctid = any(places) returning m.*)
  insert into tidemill._task_hours as h
    select date_bin('1 hour', o.minute, '2000-01-01Z'), o.identifier,
           sum(o.done), sum(o.failed), sum(o.retried), sum(o.cancelled), sum(o.run_time), max(o.longest_run),
           sum(o.wait_time), tidemill.histogram_sum(o.runs), tidemill.histogram_sum(o.waits)
    from old o group by 1, 2 order by 1, 2
  on conflict (hour, identifier) do update set
    done = h.done + excluded.done, failed = h.failed + excluded.failed, retried = h.retried + excluded.retried,
    cancelled = h.cancelled + excluded.cancelled, run_time = h.run_time + excluded.run_time,
    longest_run = greatest(h.longest_run, excluded.longest_run), wait_time = h.wait_time + excluded.wait_time,
    runs = tidemill._added(h.runs, excluded.runs), waits = tidemill._added(h.waits, excluded.waits);
  if cardinality(places) >= most then
    return true;
  end if;
  places := array(
    select h.ctid from tidemill._task_hours h where h.hour < now() - interval '30 days'
    order by h.hour, h.identifier limit most for update skip locked);
  delete from tidemill._task_hours h where h.ctid = any(places);
  return cardinality(places) >= most;
end
$$;
comment on function tidemill._roll_up_counts is
$$Adds minutes that are two days old to their hours, and deletes hours that are 30 days old, so many at most.

True: there may be more. Workers call it once an hour. It passes over what another one is at.$$;
