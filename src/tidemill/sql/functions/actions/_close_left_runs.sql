-- Runs by hand that their session has left without recording an end.

create or replace function tidemill._close_left_runs(action_id integer default null, nested boolean default true)
returns void
-- Few runs are open, whatever the statistics say.
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set lock_timeout = '200ms'
as $$
#variable_conflict use_column
declare
  run tidemill._action_runs;
  session pg_stat_activity;
begin
  -- Locked, so that the session cannot end the run between our look at the row and our look at the session.
  for run in
    select r.* from tidemill._action_runs r
      where r.outcome is null and r.by_hand
        and (_close_left_runs.action_id is null or r.action_id = _close_left_runs.action_id)
      for no key update skip locked
  loop
    begin
      perform pg_stat_clear_snapshot();
      select b.* into session from pg_stat_activity b, tidemill._backend_of(run) o(pid) where b.pid = o.pid;
      if session.pid is null then
        if tidemill._server_started_at() > run.started_at then
          perform tidemill._record_hand_run(run.id, 'server_restarted', clock_timestamp(),
            message => 'the database server was restarted during the run');
        else
          perform tidemill._record_hand_run(run.id, 'backend_terminated', clock_timestamp(),
            message => 'the session that ran it ended during the run');
        end if;
      elsif not tidemill._goes_on(run, session, nested) then
        perform tidemill._record_hand_run(
          run.id, 'failure',
          -- The run ended with its statement, which was before the session's next one began.
          coalesce(case when session.query_start > run.started_at then session.query_start
                        else session.state_change end, clock_timestamp()),
          message => 'the run ended with an error that its own session saw');
      end if;
    exception when lock_not_available then
      -- Another transaction changes or starts its action: try again at the next look.
      null;
    end;
  end loop;
end
$$;
comment on function tidemill._close_left_runs is
$$Ends runs by hand (of one action; NULL: of all) whose sessions are gone or do something else by now.

An error in a procedure that commits leaves such a run: nothing could catch it.
nested  whether this session may itself be running the action$$;

create or replace function tidemill._goes_on(
  run tidemill._action_runs, session pg_stat_activity, nested boolean
) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if session.pid = pg_backend_pid() then
    return nested and run.started_at >= statement_timestamp();
  elsif session.state <> 'disabled' then
    -- A run is part of one statement.
    return session.state in ('active', 'fastpath function call') and session.query_start <= run.started_at;
  end if;
  -- Some roles cannot see what other sessions do, but all see whether these are in a transaction.
  for look in 1 .. 3 loop
    if exists (
      select from pg_locks l
      where l.pid = session.pid and l.locktype = 'virtualxid' and l.mode = 'ExclusiveLock')
    then
      return true;
    end if;
    -- Between two transactions of a procedure there is a short gap.
    perform pg_sleep(0.002);
  end loop;
  return false;
end
$$;
comment on function tidemill._goes_on is 'Whether a session is still running what it has started by hand.';
