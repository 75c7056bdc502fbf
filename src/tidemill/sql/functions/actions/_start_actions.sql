-- Due routines for the worker that asks, and how long it is until the next action is due.

create or replace function tidemill._start_actions(
  worker_id text, slots integer, at timestamptz default clock_timestamp()
) returns table (
  run_id bigint, action_id integer, application_name text, max_runtime double precision
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due tidemill._due_task;
begin
  for due in select * from tidemill._take_due(false, slots, at) loop
    perform tidemill._follow_routine((due.action).id);
    action_id := (due.action).id;
    application_name := tidemill._application_name((due.action).id, (due.action).name);
    max_runtime := nullif(extract(epoch from (due.action).max_runtime), 0);
    insert into tidemill._action_runs as r
      (action_id, application_name, owner, proc_schema, proc_name, slot, started_at, worker_id, config)
      select a.id, _start_actions.application_name, a.owner, a.proc_schema, a.proc_name, due.slot, at,
             _start_actions.worker_id, a.config
        from tidemill._actions a where a.id = (due.action).id
      returning r.id into run_id;
    update tidemill._action_states s
      set run_id = _start_actions.run_id, slot = due.slot, last_start = at,
          next_start = '-infinity', total_runs = s.total_runs + 1
      where s.action_id = (due.action).id;
    return next;
  end loop;
end
$$;
comment on function tidemill._start_actions is
$$Starts due routines in the order of _due_actions, up to `slots` of them, and returns their runs. Call _skip_missed before.

The caller must run them and call _finish_run. _sweep_runs finds the runs of a lost worker.$$;

create or replace function tidemill._next_due(
  with_routines boolean default true, at timestamptz default clock_timestamp()
) returns double precision
language sql set search_path = pg_catalog, pg_temp
as $$
  -- Before PostgreSQL 17 infinite times cannot be subtracted, but their epochs can.
  select (extract(epoch from s.next_start) - extract(epoch from at))::float8
    from tidemill._action_states s
    join tidemill._actions a on a.id = s.action_id
    where s.run_id is null and a.scheduled and s.next_start < 'infinity'
      and (with_routines or a.task is not null)
    order by s.next_start
    limit 1
$$;
comment on function tidemill._next_due is
  'Seconds until the next action is due, negative if one is due now; NULL if none will be. with_routines false: task actions alone.';
