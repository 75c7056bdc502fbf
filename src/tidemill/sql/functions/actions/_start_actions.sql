-- Due routines for the worker that asks, and how long it is until the next action is due.

create or replace function tidemill._start_actions(
  worker_id text, slots integer, at timestamptz default clock_timestamp()
) returns table (
  run_id bigint, action_id integer, application_name text, max_runtime double precision
)
language plpgsql set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  due record;
  due_slot timestamptz;
begin
  for due in
    -- Both rows are locked: a transaction that pauses or deletes the action sees the run, or comes first.
    select a, s
      from tidemill._action_states s
      join tidemill._actions a on a.id = s.action_id
      where s.run_id is null and s.next_start <= at and a.scheduled and a.task is null
        -- A worker leaves actions of roles that it may not become to others. If none comes, the run fails.
        and (pg_has_role(session_user, a.owner::oid, 'MEMBER')
          or coalesce(nullif(s.next_start, '-infinity'), a.created_at) < at - interval '10 seconds')
      order by s.next_start, s.action_id
      limit slots
      for no key update of s, a skip locked
  loop
    perform tidemill._follow_routine((due.a).id);
    action_id := (due.a).id;
    application_name := tidemill._application_name((due.a).id, (due.a).name);
    max_runtime := nullif(extract(epoch from (due.a).max_runtime), 0);
    due_slot := tidemill._slot_of(due.a, due.s, at);
    insert into tidemill._action_runs as r
      (action_id, application_name, owner, proc_schema, proc_name, slot, started_at, worker_id, config)
      select a.id, _start_actions.application_name, a.owner, a.proc_schema, a.proc_name, due_slot, at,
             _start_actions.worker_id, a.config
        from tidemill._actions a where a.id = (due.a).id
      returning r.id into run_id;
    update tidemill._action_states s
      set run_id = _start_actions.run_id, slot = due_slot, last_start = at,
          next_start = '-infinity', total_runs = s.total_runs + 1
      where s.action_id = (due.a).id;
    return next;
  end loop;
end
$$;
comment on function tidemill._start_actions is
$$Starts due routines, the longest due first and up to `slots` of them, and returns their runs. Call _skip_missed before.

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
