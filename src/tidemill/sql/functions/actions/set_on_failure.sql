create or replace function tidemill.set_on_failure(task text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._refuse_job(coalesce(task, ''), null, null, null, null, null);
  update tidemill._action_settings set on_failure = nullif(task, '');
end
$$;
comment on function tidemill.set_on_failure is
$$Names the task of which a job is added when a run of any action fails; NULL or '': none, the default.

An action's own on_failure takes precedence. The job's payload is the run: action_id, name, routine or
task, run_id, outcome, slot, started_at, finished_at, sqlstate, message, detail, hint, context, output,
config, consecutive_failures, next_start, paused; times are ISO 8601 in UTC. Outcomes that are
reported: failure, timeout, backend_terminated, worker_lost, server_restarted; not stopped, and no runs by
hand, whose caller saw the error. Error: 23514 for a name longer than 128 characters.$$;
