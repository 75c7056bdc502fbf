-- Telling of runs that failed: by a job, with the run as its payload.

create or replace function tidemill.set_on_failure(task text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._refuse_job(coalesce(task, ''), null, null, null, null, null);
  update tidemill._action_settings set on_failure = nullif(task, '');
end
$$;
comment on function tidemill.set_on_failure is
$$Names the task that is enqueued when a run of any action fails; NULL or '' for none, the default.

An action's own on_failure goes before it. The job's payload is the run: action_id, name, routine or
task, run_id, outcome, slot, started_at, finished_at, sqlstate, message, detail, hint, context, output,
config, consecutive_failures, next_start, paused; times are ISO 8601 in UTC. Outcomes that are told:
failure, timeout, backend_terminated, worker_lost, server_restarted; not stopped, and not runs that were
started by hand, whose caller saw the error. Error: 23514 for a name longer than 128 characters.$$;

create or replace function tidemill._tell_failure(run_id bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
declare
  task text;
  run_told json;
begin
  select coalesce(a.on_failure, g.on_failure), json_build_object(
      'action_id', r.action_id,
      'name', a.name,
      'routine', r.proc_schema || '.' || r.proc_name,
      'task', r.task,
      'run_id', r.id,
      'outcome', r.outcome,
      'slot', r.slot,
      'started_at', r.started_at,
      'finished_at', r.finished_at,
      'sqlstate', r.sqlstate,
      'message', r.message,
      'detail', r.detail,
      'hint', r.hint,
      'context', r.context,
      'output', r.output,
      'config', r.config,
      'consecutive_failures', s.consecutive_failures,
      'next_start', nullif(s.next_start, '-infinity'),
      'paused', not a.scheduled)
    into task, run_told
    from tidemill._action_runs r
    cross join tidemill._action_settings g
    left join tidemill._actions a on a.id = r.action_id
    left join tidemill._action_states s on s.action_id = r.action_id
    where r.id = _tell_failure.run_id and not r.by_hand
      and r.outcome in ('failure', 'timeout', 'backend_terminated', 'worker_lost', 'server_restarted');
  if task is null then
    return;
  end if;
  perform tidemill.add_job(identifier => task, payload => run_told);
exception
  when lock_not_available then
    raise;
  when others then
    -- What failed must not keep the failure itself from being recorded, nor be told of in turn.
    raise warning 'the failure of run % could not be told to the task %: %', run_id, task, sqlerrm;
end
$$;
comment on function tidemill._tell_failure is
  'Enqueues the job that tells of a failed run, where the action or the scheduler has a task for it. Error: only 55P03.';
