-- A failed run is reported by a job, whose payload is the run.

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
    where r.id = _tell_failure.run_id;
  if task is null then
    return;
  end if;
  perform tidemill.add_job(identifier => task, payload => run_told);
exception
  when lock_not_available then
    raise;
  when others then
    -- The failed run must be recorded even if it cannot be reported. That is not reported in turn.
    raise warning 'the failure of run % could not be told to the task %: %', run_id, task, sqlerrm;
end
$$;
comment on function tidemill._tell_failure is
  'Adds the job that reports a failed run, if the action or set_on_failure names a task for it. The only error is 55P03.';
