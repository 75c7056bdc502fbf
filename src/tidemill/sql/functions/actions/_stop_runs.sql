-- Stopping the runs of an action that is paused or deleted, or whose routine is dropped.

create or replace function tidemill._lock_action(action_id integer, with_runs boolean)
returns tidemill._actions
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
  runs bigint[];
begin
  loop
    begin
      -- Lock runs before the action, in the same order as _finish_run, to avoid deadlocks.
      if with_runs then
        runs := array(select r from tidemill._runs_to_stop(action_id) r);
        perform from tidemill._action_runs r where r.id = any(runs) order by r.id for no key update;
      end if;
      select * into a from tidemill._actions o where o.id = action_id for update;
      if not with_runs or not exists (
        select from tidemill._runs_to_stop(action_id) r where r <> all(runs))
      then
        return a;
      end if;
      raise exception using errcode = 'TMRUN';
    exception when sqlstate 'TMRUN' then
      -- A run has begun in between. The error has released the locks: start again.
      null;
    end;
  end loop;
end
$$;
comment on function tidemill._lock_action is
  'Locks an action, and with with_runs the runs to stop; returns its present row, NULLs if it is gone.';

create or replace function tidemill._runs_to_stop(action_id integer) returns setof bigint
language sql set search_path = pg_catalog, pg_temp
as $$
  select r.id from tidemill._action_runs r
  where r.action_id = _runs_to_stop.action_id and r.outcome is null and not r.by_hand
    -- An action that pauses or deletes itself runs to its end.
    and r.pid is distinct from pg_backend_pid()
$$;

create or replace function tidemill._ask_to_stop(action_id integer, why text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update tidemill._action_runs set stop_asked = why
  where id in (select tidemill._runs_to_stop(_ask_to_stop.action_id)) and outcome is null
$$;
comment on function tidemill._ask_to_stop is
  'Asks the workers that run an action to stop it. They look after a call of _notify_actions.';

create or replace function tidemill._unheard_runs(worker_id text, idle_seconds double precision)
returns table (run_id bigint, why text)
language sql set search_path = pg_catalog, pg_temp
as $$
  select r.id,
    case
      when b.pid is null then 'the answer never came, and the server process of the run is gone'
      else format('the answer never came: the server process had been idle since %s, so it is not known whether '
                  'the routine succeeded', b.state_change)
    end
  from tidemill._action_runs r
  left join lateral (
    select s.pid, s.state, s.state_change from pg_stat_activity s where s.pid in (select tidemill._backend_of(r))) b on true
  where r.worker_id = _unheard_runs.worker_id and r.outcome is null and r.pid is not null
    -- An open transaction or a statement, however long, is no end of a run.
    and (b.pid is null or b.state = 'idle' and b.state_change < clock_timestamp() - make_interval(secs => idle_seconds))
$$;
comment on function tidemill._unheard_runs is
$$Runs of a worker that have ended, as their server processes show: gone, or idle for longer than idle_seconds.

If the worker still waits for the answer of one, it will not come: a connection may be open and dead.$$;

create or replace function tidemill._stops_asked(worker_id text) returns table (run_id bigint, why text)
language sql set search_path = pg_catalog, pg_temp
as $$
  select r.id, r.stop_asked from tidemill._action_runs r
  where r.worker_id = _stops_asked.worker_id and r.outcome is null and r.stop_asked is not null
$$;
