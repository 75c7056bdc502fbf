-- The built-in action 4: makes partitions of job history ahead of time, and drops old ones.

-- It commits and so may have no SET clause: every name is qualified instead.
create or replace procedure tidemill.prune_job_history(job_id integer, config jsonb)
language plpgsql
as $$
declare
  part record;
begin
  for part in select * from tidemill._history_tables() loop
    -- Whoever settles a kept job waits behind a lock that waits: so each try is short, with a pause after it.
    for try in 1 .. 50 loop
      exit when tidemill._prune_history_table(part.rows_table, part.lasts);
      commit;
      perform pg_catalog.pg_sleep(0.2);
      if try operator(pg_catalog.=) 50 then
        raise warning 'history in % is not pruned: another transaction reads it all the time', part.rows_table
          using hint = 'It is tried again in an hour.';
      end if;
    end loop;
    commit;
  end loop;
  perform tidemill._forget_waiters();
  perform tidemill._forget_history_workers();
end
$$;
comment on procedure tidemill.prune_job_history is
$$Makes partitions of tidemill.job_history ahead of time, and drops those whose jobs are older than they are kept.
The built-in action 4 runs it every hour, from the first kept job on.

job_id  the action's id; not used
config  not used

It commits after each table, so it cannot be called in a transaction. A partition whose lock is not to be had within
0.05 seconds is tried again, for ten seconds; then it warns, and leaves it to the next run.$$;

create or replace function tidemill._history_tables() returns table (rows_table regclass, lasts interval)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select h.rows_table, k.lasts
  from tidemill._history_keeps u
  join tidemill._keeps() k using (keep)
  cross join lateral (values ('tidemill._done_jobs_' || k.name), ('tidemill._ended_attempts_' || k.name)) n(name)
  join tidemill._hypertables h on h.rows_table = to_regclass(n.name)
  order by k.keep, n.name
$$;

create or replace function tidemill._prune_history_table(rows_table regclass, lasts interval) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
begin
  execute format('lock table only %s in access exclusive mode', rows_table);
  perform tidemill.make_chunks(rows_table, now() + 2 * (select k.chunk from tidemill._keeps() k
    where k.lasts is not distinct from _prune_history_table.lasts));
  if lasts is not null then
    perform tidemill.drop_chunks(rows_table, older_than => now() - lasts);
  end if;
  return true;
exception when lock_not_available then
  return false;
end
$$;
comment on function tidemill._prune_history_table is 'False: its lock was not to be had at once.';

create or replace function tidemill._forget_waiters() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  delete from tidemill._waiters w where w.since < now() - interval '1 day'
$$;
comment on function tidemill._forget_waiters is 'Deletes who no longer waits.';

create or replace function tidemill._forget_history_workers() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update tidemill._history_workers h set last_seen = w.heartbeat_at
    from tidemill._workers w
    where w.id = h.worker_id and h.last_seen < w.heartbeat_at - interval '1 hour';
  -- A year, the partition in which it ends, and some days.
  delete from tidemill._history_workers h
    where h.last_seen < now() - interval '400 days'
      and not exists (select from tidemill._history_keeps k where k.keep = 5)
$$;
comment on function tidemill._forget_history_workers is
  'Notes which workers are alive, and deletes those that history cannot name any longer.';
