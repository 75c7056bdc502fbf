-- The end of a run: what is recorded, and when the action runs next.

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
-- Who alters the action in an open transaction shall not hold up a worker's other runs.
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
#variable_conflict use_variable
declare
  run tidemill._action_runs;
  a tidemill._actions;
  s tidemill._action_states;
  finished timestamptz;
begin
  select * into run from tidemill._action_runs r
    where r.id = run_id and r.outcome is null for update;
  if not found then
    return;
  end if;
  select * into a from tidemill._actions where id = run.action_id for no key update;
  finished := greatest(at, run.started_at);
  recorded := outcome;
  if outcome = 'connection_lost' then
    -- Where the network broke, it may still go on, and a second one must not start beside it.
    if exists (select from tidemill._backend_of(run)) and not tidemill._end_backend(run.pid) then
      raise exception using errcode = 'object_in_use',
        message = format('run %s still goes on in server process %s, which does not end', run.id, run.pid);
    end if;
    -- A fast shutdown and pg_terminate_backend say the same.
    recorded := case
      when tidemill._server_started_at() > run.started_at then 'server_restarted'
      else 'backend_terminated'
    end;
  end if;
  update tidemill._action_runs r set
    finished_at = finished, outcome = recorded, sqlstate = _finish_run.sqlstate,
    message = _finish_run.message, detail = _finish_run.detail, hint = _finish_run.hint,
    context = _finish_run.context, output = _finish_run.output,
    definition = case when a.id is not null then tidemill._action_summary(a) end
    where r.id = run.id;

  update tidemill._action_states st set
    run_id = null,
    last_finish = finished,
    last_run_success = recorded = 'success',
    last_successful_finish = case when recorded = 'success' then finished else st.last_successful_finish end,
    total_successes = st.total_successes + (recorded = 'success')::integer,
    total_failures = st.total_failures
      + (recorded in ('failure', 'timeout', 'stopped', 'backend_terminated'))::integer,
    total_crashes = st.total_crashes + (recorded in ('worker_lost', 'server_restarted'))::integer,
    total_duration = st.total_duration
      + case when recorded = 'success' then finished - run.started_at else interval '0' end,
    total_duration_failures = st.total_duration_failures
      + case when recorded <> 'success' then finished - run.started_at else interval '0' end,
    consecutive_failures = case
      when recorded = 'success' then 0
      when recorded in ('failure', 'timeout', 'backend_terminated') then st.consecutive_failures + 1
      else st.consecutive_failures end,
    consecutive_crashes = case
      when recorded in ('worker_lost', 'server_restarted') then st.consecutive_crashes + 1
      else 0 end
    where st.action_id = run.action_id and st.run_id = run.id
    returning * into s;
  if a.id is null or s.action_id is null then
    next_start := null;
    return next;
    return;
  end if;

  next_start := s.next_start;
  -- Set by somebody during the run: that holds.
  if next_start = '-infinity' then
    begin
      next_start := case
        when recorded = 'stopped' and run.stop_asked is null
          then case when a.missed = 'backfill' then run.slot else finished end
        when recorded in ('success', 'stopped') then tidemill._start_after_success(a, run.slot, finished)
        when recorded in ('worker_lost', 'server_restarted')
          then tidemill._retry_start(a, finished, s.consecutive_crashes, tidemill._jitter())
        else tidemill._retry_start(a, finished, s.consecutive_failures, tidemill._jitter())
      end;
    exception when others then
      next_start := 'infinity';
      paused_because := tidemill._pause_unreadable(a.id, sqlerrm);
    end;
    update tidemill._action_states st set next_start = _finish_run.next_start where st.action_id = a.id;
  end if;
  if recorded = 'failure' and a.scheduled and a.max_retries >= 0 and s.consecutive_failures >= a.max_retries then
    paused_because := format(
      'paused after %s consecutive failures (max_retries %s); alter_action(%s, scheduled => true) resumes it',
      s.consecutive_failures, a.max_retries, a.id);
    update tidemill._actions x set scheduled = false, paused_because = _finish_run.paused_because
      where x.id = a.id;
  end if;
  if recorded not in ('success', 'stopped') then
    perform tidemill._tell_failure(run.id);
  end if;
  return next;
end
$$;
comment on function tidemill._finish_run is
$$Records the end of a run, and when its action starts next; nothing where it has ended before.

outcome     as in tidemill.action_history, or connection_lost: then it is told here whether the
            server was restarted or the backend alone was terminated
at          when it ended; a time before its start counts as its start
Returns the outcome as recorded, the next start (NULL where the action was deleted meanwhile), and why the
action was paused, if it was. After a success and a stop the next start is a slot; after a failure
as tidemill._retry_start says; after a worker's own stop at once.
Error 55P03: a transaction that goes on changes the action; try again.$$;

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
  due boolean;
begin
  update tidemill._action_runs r set
    finished_at = greatest(at, r.started_at), outcome = _record_hand_run.outcome,
    sqlstate = _record_hand_run.sqlstate, message = _record_hand_run.message,
    detail = _record_hand_run.detail, hint = _record_hand_run.hint, context = _record_hand_run.context,
    definition = (select tidemill._action_summary(a) from tidemill._actions a where a.id = r.action_id)
    where r.id = _record_hand_run.run_id and r.outcome is null
    returning * into run;
  if not found then
    return;
  end if;
  update tidemill._action_states s set
    run_id = null,
    last_finish = run.finished_at,
    last_run_success = run.outcome = 'success',
    last_successful_finish = case when run.outcome = 'success' then run.finished_at else s.last_successful_finish end,
    total_successes = s.total_successes + (run.outcome = 'success')::integer,
    total_failures = s.total_failures + (run.outcome in ('failure', 'backend_terminated'))::integer,
    total_crashes = s.total_crashes + (run.outcome = 'server_restarted')::integer,
    total_duration = s.total_duration
      + case when run.outcome = 'success' then run.finished_at - run.started_at else interval '0' end,
    total_duration_failures = s.total_duration_failures
      + case when run.outcome <> 'success' then run.finished_at - run.started_at else interval '0' end
    where s.action_id = run.action_id and s.run_id = run.id
    returning s.next_start <= clock_timestamp() into due;
  if due then
    -- Workers passed over it while it ran.
    perform tidemill._notify_actions();
  end if;
end
$$;
comment on function tidemill._record_hand_run is
  'Records the end of a run by hand. next_start, slot and the failures that lead to a pause are left alone.';

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
$$Pauses an action whose schedule the server no longer understands, such as one in a time zone that an
upgrade took away; an error would hold up all others.$$;

create or replace function tidemill._give_back_run(run_id bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
#variable_conflict use_column
begin
  -- The run first, as whoever ends or stops it.
  delete from tidemill._action_runs r where r.id = _give_back_run.run_id and r.outcome is null;
  update tidemill._action_states s
    set run_id = null, next_start = case when s.next_start = '-infinity' then s.slot else s.next_start end,
        total_runs = s.total_runs - 1
    where found and s.run_id = _give_back_run.run_id;
end
$$;
comment on function tidemill._give_back_run is
  'Undoes the start of a run that could not begin: it is due again. Error 55P03 as of tidemill._finish_run.';
