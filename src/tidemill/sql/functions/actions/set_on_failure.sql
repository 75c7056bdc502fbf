create or replace function tidemill.set_on_failure(task text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._operator_requests (verb, names) values ('set_on_failure', array[task]);
end
$$;
comment on function tidemill.set_on_failure is
$$Names the task of which a job is added when a run of any action fails; NULL or '': none, the default.

An action's own on_failure takes precedence. The job's payload is the run: action_id, name, routine or
task, run_id, outcome, slot, started_at, finished_at, sqlstate, message, detail, hint, context, output,
config, consecutive_failures, next_start, paused; times are ISO 8601 in UTC. Outcomes that are
reported: failure, timeout, backend_terminated, worker_lost, server_restarted; not stopped, and no runs by
hand, whose caller saw the error. Error: 23514 for a name longer than 128 characters.$$;

create or replace function tidemill._set_on_failure(who name, task text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  before text;
begin
  perform tidemill._refuse_job(coalesce(task, ''), null, null, null, null, null);
  select s.on_failure into before from tidemill._action_settings s for update;
  update tidemill._action_settings set on_failure = nullif(task, '');
  perform tidemill._note_act(
    who, 'set_on_failure', array_remove(array[task], null), 1, null, jsonb_build_object('on_failure', before),
    jsonb_build_object('on_failure', nullif(task, '')));
end
$$;
