-- Running an action by hand: in the caller's session, as the caller.
-- A procedure that may COMMIT has no SET clause, no SECURITY DEFINER, and no EXCEPTION block around the call. So it
-- qualifies all names, of operators and types, too.

create or replace procedure tidemill.run_action(action_id integer)
language plpgsql
as $$
begin
  -- On one line, since the lines of the stack are counted: see "alone".
  call tidemill._run_action(action_id, 'action');
end
$$;
comment on procedure tidemill.run_action is
$$Runs an action now, in this session and as the current role, whatever its schedule says.

Only the owner may run a routine: it runs with the rights of the role that calls this.

Procedures may COMMIT and ROLLBACK, unless this is called in a transaction block or by a function. A
function's result is discarded. An action that is a task adds its job. Errors of the routine come
through unchanged. The config's work_mem applies during the run.

The run is listed in tidemill.action_history (by_hand) and counted in tidemill.action_stats; it changes
neither the schedule nor the failures that pause an action. Called on its own (not in a transaction
block, function, procedure or DO), the run is recorded from its start on, and so is a failure with its
error; the failure of a procedure that itself commits is recorded later, without the error. Called
otherwise, the record is part of the caller's transaction and is undone with it. NOTICEs go to the
caller alone.

Errors: 22023 action_id is NULL, 42704 no such action, 42501 not allowed for this role, 42883 the routine
is gone, 55006 the action is running already, 25006 in a read-only transaction.$$;

create or replace procedure tidemill._run_action(action_id integer, noun text)
language plpgsql
as $$
declare
  stack pg_catalog.text;
  refusal pg_catalog.text;
  run record;
  work_mem pg_catalog.text := pg_catalog.current_setting('work_mem');
  state pg_catalog.text;
  message pg_catalog.text;
  detail pg_catalog.text;
  hint pg_catalog.text;
  context pg_catalog.text;
begin
  get diagnostics stack = pg_context;
  -- In a block with EXCEPTION, COMMIT always fails. The message differs if it could not work anyway.
  begin
    commit;
  exception when invalid_transaction_termination then
    get stacked diagnostics refusal = message_text;
  end;
  insert into tidemill._run_requests as q (action_id, noun, refusal, stack)
    values (action_id, noun, refusal, stack)
    returning q.run_id, q.way, q.alone, q.call, q.shown, q.config, q.job_id into run;
  if run.way operator(pg_catalog.=) 'task' then
    raise notice 'added job % (%)', run.job_id, run.call;
    return;
  end if;
  raise debug 'Executing % with %', run.shown, coalesce('parameters ' operator(pg_catalog.||) run.config::pg_catalog.text, 'no parameters');
  if run.alone then
    -- From here on other sessions see the run, and start none beside it.
    commit;
  end if;

  if run.way operator(pg_catalog.=) 'may commit' then
    if run.config operator(pg_catalog.->>) 'work_mem' is not null then
      perform pg_catalog.set_config('work_mem', run.config operator(pg_catalog.->>) 'work_mem', false);
    end if;
    call pg_temp._tidemill_run(action_id, run.config);
    if run.config operator(pg_catalog.->>) 'work_mem' is not null then
      perform pg_catalog.set_config('work_mem', work_mem, false);
    end if;
  elsif run.alone then
    begin
      if run.config operator(pg_catalog.->>) 'work_mem' is not null then
        perform pg_catalog.set_config('work_mem', run.config operator(pg_catalog.->>) 'work_mem', true);
      end if;
      execute run.call using action_id, run.config;
      -- Deferred constraints must fail here, before the success is recorded.
      set constraints all immediate;
    exception when others or query_canceled or assert_failure then
      get stacked diagnostics state = returned_sqlstate, message = message_text,
        detail = pg_exception_detail, hint = pg_exception_hint, context = pg_exception_context;
      perform tidemill._end_hand_run(
        run.run_id, 'failure', state, message, detail, hint, tidemill._context_below(context));
      -- The routine's work has been rolled back by now. RAISE keeps the error's context.
      commit;
      raise;
    end;
  else
    if run.config operator(pg_catalog.->>) 'work_mem' is not null then
      perform pg_catalog.set_config('work_mem', run.config operator(pg_catalog.->>) 'work_mem', true);
    end if;
    execute run.call using action_id, run.config;
  end if;
  if run.way operator(pg_catalog.<>) 'may commit' and run.config operator(pg_catalog.->>) 'work_mem' is not null then
    perform pg_catalog.set_config('work_mem', work_mem, true);
  end if;
  perform tidemill._end_hand_run(run.run_id, 'success');
end
$$;
comment on procedure tidemill._run_action is 'run_action, which says "job" instead of "action" in the dialect.';

create or replace function tidemill._begin_hand_run(caller regrole, action_id integer, noun text, refusal text, stack text)
returns table (run_id bigint, way text, alone boolean, call text, shown text, config jsonb, job_id bigint)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
  frame constant text := '_run_action(integer,text)';
  a tidemill._actions := tidemill._find_action(caller, action_id, 'run', noun);
  nested boolean := strpos(substr(stack, strpos(stack, frame) + length(frame)), frame) > 0;
  routine record;
begin
  if a.task is null and caller <> a.owner then
    raise exception using errcode = 'insufficient_privilege',
      message = format('only the owner of %s %s may run its routine by hand', noun, a.id),
      detail = format('The routine would run with the rights of "%s", and the owner is "%s".',
                      pg_get_userbyid(caller), pg_get_userbyid(a.owner)),
      hint = format('Let a worker run it as the owner: select tidemill.alter_action(%s, next_start => now()). '
                    'If you trust the routine with your rights, which it may take back: set role %I.',
                    a.id, pg_get_userbyid(a.owner));
  end if;
  -- A function may never COMMIT, so this is the message for where it is forbidden.
  begin
    commit;
  exception when invalid_transaction_termination then
    way := case when sqlerrm <> refusal then 'may commit' else 'atomic' end;
  end;
  -- Three lines of the stack are our own. With none above them, this transaction holds no other work.
  alone := way = 'may commit' and cardinality(string_to_array(stack, E'\n')) = 3;

  perform tidemill._follow_routine(a.id);
  perform tidemill._close_left_runs(a.id, nested);
  select x.* into a from tidemill._actions x where x.id = a.id;
  perform tidemill._refuse_stranger(a, noun);
  perform tidemill._claim_by_hand(a.id, noun);
  config := a.config;
  insert into tidemill._action_runs as r
    (action_id, application_name, owner, proc_schema, proc_name, task, by_hand, pid, backend_start, config)
    values (a.id, tidemill._application_name(a.id, a.name), a.owner, a.proc_schema, a.proc_name, a.task,
            true, pg_backend_pid(),
            (select b.backend_start from pg_stat_activity b where b.pid = pg_backend_pid()), a.config)
    returning r.id into run_id;
  update tidemill._action_states s
    set run_id = _begin_hand_run.run_id, last_start = r.started_at, total_runs = s.total_runs + 1
    from tidemill._action_runs r
    where s.action_id = a.id and r.id = _begin_hand_run.run_id;

  if a.task is not null then
    way := 'task';
    call := a.task;
    job_id := tidemill._add_action_job(a, now());
    update tidemill._action_runs r set job_id = _begin_hand_run.job_id where r.id = run_id;
    perform tidemill._record_hand_run(run_id, 'success', clock_timestamp());
  else
    select * into routine from tidemill._routine_call(a.proc_schema, a.proc_name);
    call := format(routine.call, '$1', '$2');
    shown := format('%I.%I', a.proc_schema, a.proc_name);
    if way = 'may commit' and tidemill._can_commit(a.proc_schema, a.proc_name) then
      perform tidemill._lay_wrapper(a.proc_schema, a.proc_name);
    else
      way := 'at once';
    end if;
  end if;
  return next;
end
$$;
comment on function tidemill._begin_hand_run is
$$Records the start of a run by hand, and returns how to run it.

refusal, stack  what the calling procedure was told when it tried to COMMIT, and who called it
way             may commit (through pg_temp._tidemill_run), at once (by executing call), or task (done)
alone           the caller's transaction is this run's own, and may be committed$$;

create or replace function tidemill._claim_by_hand(action_id integer, noun text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  other tidemill._action_runs;
begin
  begin
    perform from tidemill._action_states s where s.action_id = _claim_by_hand.action_id for no key update;
    -- A separate statement, which sees a run that began while we waited.
    select r.* into other
      from tidemill._action_states s
      join tidemill._action_runs r on r.id = s.run_id
      where s.action_id = _claim_by_hand.action_id;
    if not found then
      return;
    end if;
  exception when lock_not_available then
    raise exception using errcode = 'object_in_use',
      message = format('%s %s is running already', noun, action_id),
      detail = 'It runs in a transaction that has not ended, or is being changed in one.',
      hint = 'Try again when that transaction has ended.';
  end;
  raise exception using errcode = 'object_in_use',
    message = format('%s %s is running already', noun, action_id),
    detail = format('Run %s has been going on since %s, %s%s.', other.id, other.started_at,
      case when other.by_hand then 'by hand' else 'in worker ' || other.worker_id end,
      ', in server process ' || other.pid),
    hint = 'Wait until it has ended' || coalesce(', or stop it: select pg_cancel_backend(' || other.pid || ')', '') || '.';
end
$$;
comment on function tidemill._claim_by_hand is
  'Locks the state of an action that is not running; else error 55006.';

create or replace function tidemill._lay_wrapper(proc_schema name, proc_name name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- A CALL that is built at run time forbids COMMIT; one in a procedure's text does not.
  execute format(
    'create or replace procedure pg_temp._tidemill_run(action_id integer, config jsonb) language plpgsql as %L',
    (select format('begin %s; end', format(c.call, '$1', '$2'))
     from tidemill._routine_call(proc_schema, proc_name) c));
  grant execute on procedure pg_temp._tidemill_run to public;
exception when insufficient_privilege then
  raise exception using errcode = 'insufficient_privilege', message = sqlerrm,
    detail = 'To run a procedure that may COMMIT, a temporary one is made that calls it.',
    hint = format('Let an administrator run: grant temporary on database %I to %I;',
                  current_database(), current_user);
end
$$;
comment on function tidemill._lay_wrapper is
  'Makes the procedure pg_temp._tidemill_run, which calls this routine.';

create or replace function tidemill._context_below(context text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select substring(context from E'^(.*)\\n[^\\n]*\\n[^\\n]*_run_action\\(integer,text\\)') $$;
comment on function tidemill._context_below is
  'The part of an error''s context inside the routine: above the statement of the outermost _run_action.';

create or replace function tidemill._end_hand_run(
  run_id bigint,
  outcome text,
  sqlstate text default null,
  message text default null,
  detail text default null,
  hint text default null,
  context text default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._run_ends (run_id, outcome, sqlstate, message, detail, hint, context)
    values (run_id, outcome, sqlstate, message, detail, hint, context);
end
$$;
comment on function tidemill._end_hand_run is 'Records the end of a run that this session started by hand.';
