-- The end of a run: what is recorded, and when the action starts next.

create or replace function tidemill._finish_run(
  run_id bigint,
  outcome text,
  at timestamptz default clock_timestamp(),
  sqlstate text default null,
  message text default null,
  detail text default null,
  hint text default null,
  context text default null,
  output text default null
) returns table (recorded text, next_start timestamptz, paused_because text)
-- A transaction that alters the action must not hold up the worker's other runs.
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
#variable_conflict use_variable
declare
  run tidemill._action_runs;
  a tidemill._actions;
  s tidemill._action_states;
  kind text;
begin
  select * into run from tidemill._action_runs r
    where r.id = run_id and r.outcome is null for update;
  if not found then
    return;
  end if;
  select * into a from tidemill._actions where id = run.action_id for no key update;
  recorded := outcome;
  if outcome = 'connection_lost' then
    -- After a network failure the routine may still be running, and a second run must not start beside it.
    if exists (select from tidemill._backend_of(run)) and not tidemill._end_backend(run.pid) then
      raise exception using errcode = 'object_in_use',
        message = format('run %s still goes on in server process %s, which does not end', run.id, run.pid);
    end if;
    -- A fast shutdown and pg_terminate_backend give the same error.
    recorded := case
      when tidemill._server_started_at() > run.started_at then 'server_restarted'
      else 'backend_terminated'
    end;
  end if;
  kind := tidemill._outcome_kind(recorded);
  update tidemill._action_runs r set
    finished_at = greatest(at, r.started_at), outcome = recorded, sqlstate = _finish_run.sqlstate,
    message = _finish_run.message, detail = _finish_run.detail, hint = _finish_run.hint,
    context = _finish_run.context, output = _finish_run.output,
    definition = case when a.id is not null then tidemill._action_summary(a) end
    where r.id = run.id
    returning * into run;
  s := tidemill._count_outcome(run);
  if a.id is null then
    next_start := null;
    return next;
    return;
  end if;

  next_start := s.next_start;
  -- A next start that alter_action set during the run stays.
  if next_start = '-infinity' then
    begin
      next_start := case
        when recorded = 'stopped' and run.stop_asked is null
          then case when a.missed = 'backfill' then run.slot else run.finished_at end
        when kind = 'success' or recorded = 'stopped'
          then tidemill._start_after_success(a, run.slot, run.finished_at)
        when kind = 'crash'
          then tidemill._retry_start(a, run.finished_at, s.consecutive_crashes, tidemill._jitter())
        else tidemill._retry_start(a, run.finished_at, s.consecutive_failures, tidemill._jitter())
      end;
    exception when lock_not_available or transaction_rollback or insufficient_resources or system_error then
      -- Not the action's: try again.
      raise;
    when others then
      next_start := 'infinity';
      paused_because := tidemill._pause_unreadable(a.id, sqlerrm);
    end;
    update tidemill._action_states st
      set next_start = _finish_run.next_start, must_run = recorded = 'stopped' and run.stop_asked is null,
          decided_at = run.finished_at
      where st.action_id = a.id;
  end if;
  if recorded = 'failure' and a.scheduled and a.max_retries >= 0 and s.consecutive_failures >= a.max_retries then
    paused_because := format(
      'paused after %s consecutive failures (max_retries %s); alter_action(%s, scheduled => true) resumes it',
      s.consecutive_failures, a.max_retries, a.id);
    update tidemill._actions x set scheduled = false, paused_because = _finish_run.paused_because
      where x.id = a.id;
  end if;
  if kind in ('failure', 'crash') and recorded <> 'stopped' then
    perform tidemill._tell_failure(run.id);
  end if;
  return next;
end
$$;
comment on function tidemill._finish_run is
$$Records the end of a run, and when its action starts next. A run that has ended before is left alone.

outcome     as in tidemill.action_history, or connection_lost: then this function finds out whether
            the server was restarted or the backend alone was terminated
at          when the run ended; a time before its start counts as its start
Returns the outcome as recorded, the next start (NULL if the action was deleted meanwhile), and why the
action was paused, if it was. The next start is the next slot after a success or a stop, a retry
(tidemill._retry_start) after a failure or crash, and at once after the stop of the worker itself.
Error 55P03: an open transaction changes the action; try again.$$;

create or replace function tidemill._record_hand_run(
  run_id bigint,
  outcome text,
  at timestamptz,
  sqlstate text default null,
  message text default null,
  detail text default null,
  hint text default null,
  context text default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  run tidemill._action_runs;
  s tidemill._action_states;
begin
  update tidemill._action_runs r set
    finished_at = greatest(at, r.started_at), outcome = _record_hand_run.outcome,
    sqlstate = left(_record_hand_run.sqlstate, 5),
    message = tidemill._bounded_error(_record_hand_run.message),
    detail = tidemill._bounded_error(_record_hand_run.detail),
    hint = tidemill._bounded_error(_record_hand_run.hint),
    context = tidemill._bounded_error(_record_hand_run.context),
    definition = (select tidemill._action_summary(a) from tidemill._actions a where a.id = r.action_id)
    where r.id = _record_hand_run.run_id and r.outcome is null
    returning * into run;
  if not found then
    return;
  end if;
  s := tidemill._count_outcome(run);
  if s.next_start <= clock_timestamp() then
    -- Workers passed over the action while it was running.
    perform tidemill._notify_actions();
  end if;
end
$$;
comment on function tidemill._record_hand_run is
$$Records the end of a run by hand, and leaves alone next_start, slot and the failures that lead to a pause.

Of a long text head and tail are kept: what it says is the routine's.$$;

create or replace function tidemill._count_outcome(run tidemill._action_runs) returns tidemill._action_states
language plpgsql
as $$
declare
  kind constant text := tidemill._outcome_kind(run.outcome);
  took constant interval := run.finished_at - run.started_at;
  s tidemill._action_states;
begin
  update tidemill._action_states st set
    run_id = null,
    last_finish = run.finished_at,
    last_run_success = kind = 'success',
    last_successful_finish = case when kind = 'success' then run.finished_at else st.last_successful_finish end,
    total_successes = st.total_successes + (kind = 'success')::integer,
    total_failures = st.total_failures + (kind = 'failure')::integer,
    total_crashes = st.total_crashes + (kind = 'crash')::integer,
    total_duration = st.total_duration + case when kind = 'success' then took else '0' end,
    total_duration_failures = st.total_duration_failures + case when kind <> 'success' then took else '0' end,
    consecutive_failures = case
      when run.by_hand then st.consecutive_failures
      when kind = 'success' then 0
      -- A stop says nothing about the routine.
      when kind = 'failure' and run.outcome <> 'stopped' then st.consecutive_failures + 1
      else st.consecutive_failures end,
    consecutive_crashes = case
      when run.by_hand then st.consecutive_crashes
      when kind = 'crash' then st.consecutive_crashes + 1
      else 0 end
    where st.action_id = run.action_id and st.run_id = run.id
    returning * into s;
  return s;
end
$$;
comment on function tidemill._count_outcome is
$$Counts an ended run in the state of its action, and returns that; NULLs where the state is of another run.

A run by hand leaves the failures and crashes in a row as they are.$$;

create or replace function tidemill._outcome_kind(outcome text) returns text
language sql immutable
as $$
  select case
    when outcome = 'success' then 'success'
    when outcome in ('failure', 'timeout', 'stopped', 'backend_terminated') then 'failure'
    when outcome in ('worker_lost', 'server_restarted') then 'crash'
    else 'none'
  end
$$;
comment on function tidemill._outcome_kind is
  'What an outcome counts as: success, failure, crash, or none (skipped, and NULL: running).';

create or replace function tidemill._pause_unreadable(action_id integer, why text) returns text
language sql set search_path = pg_catalog, pg_temp
as $$
  update tidemill._actions a
    set scheduled = false,
        paused_because = format(
          'paused, for its next start cannot be told: %s; alter_action(%s, scheduled => true, ...) mends it', why, a.id)
    where a.id = action_id
    returning a.paused_because
$$;
comment on function tidemill._pause_unreadable is
$$Pauses an action whose schedule the server does not understand now, for instance because an upgrade
removed its time zone. An error instead would hold up all other actions.$$;

create or replace function tidemill._give_back_run(run_id bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
#variable_conflict use_column
begin
  -- The run before the action's state, in the same order as _finish_run and _lock_action, to avoid deadlocks.
  delete from tidemill._action_runs r where r.id = _give_back_run.run_id and r.outcome is null;
  update tidemill._action_states s
    set run_id = null, next_start = case when s.next_start = '-infinity' then s.slot else s.next_start end,
        total_runs = s.total_runs - 1
    where s.run_id = _give_back_run.run_id;
end
$$;
comment on function tidemill._give_back_run is
  'Undoes the start of a run that could not begin, so that the action is due again. Error 55P03 as in tidemill._finish_run.';
