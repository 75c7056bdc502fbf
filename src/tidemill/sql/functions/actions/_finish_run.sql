-- The end of a run: what is recorded, and when the action runs next.

create or replace function tidemill._start_after_success(
  a tidemill._actions, slot timestamptz, finished_at timestamptz
) returns timestamptz
language sql
as $$
  select tidemill._next_slot(a, case
    when not a.fixed_schedule then finished_at
    when a.missed = 'backfill' then greatest(slot, tidemill._oldest_slot(a, finished_at) - interval '1 microsecond')
    -- After the slot, too: a clock that was set back does not bring it again.
    else greatest(slot, finished_at)
  end)
$$;
comment on function tidemill._start_after_success is 'When an action starts next after a run for a slot.';

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

create or replace function tidemill._backend_of(run tidemill._action_runs) returns setof integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select b.pid from pg_stat_activity b
  where b.pid = run.pid and (b.backend_start = run.backend_start or b.backend_start is null)
$$;
comment on function tidemill._backend_of is
  'The server process of a run, if it is there. When others'' began is hidden from some roles; then the number has to do.';

create or replace function tidemill._server_started_at() returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- The postmaster survives the crash of one of its processes; the statistics do not.
  select greatest(pg_postmaster_start_time(), (select b.stats_reset from pg_stat_bgwriter b))
$$;
comment on function tidemill._server_started_at is 'When the server last started, also after a crash of one of its processes.';

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
