-- Task actions that are due: they become jobs at once.

create or replace function tidemill._enqueue_actions(most integer, at timestamptz default clock_timestamp())
returns integer
-- A producer may hold a job's key for long, and other actions must not wait for that.
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
declare
  taken tidemill._due_task[];
  plain tidemill._due_task[];
  due tidemill._due_task;
  added integer;
begin
  select array_agg(d), array_agg(d) filter (where (d.action).job_options ->> 'job_key' is null) into taken, plain
    from tidemill._take_due(true, most, at) d;
  added := coalesce(cardinality(taken), 0);
  begin
    perform tidemill._enqueue_plain_actions(plain, at);
  exception when others then
    -- One action makes the whole statement fail: enqueue each alone, which shows which one it is.
    plain := '{}';
  end;
  foreach due in array coalesce(taken, '{}') loop
    if (due.action).job_options ->> 'job_key' is not null or plain = '{}' then
      added := added - (not tidemill._enqueue_action(due, at))::integer;
    end if;
  end loop;
  return added;
end
$$;
comment on function tidemill._enqueue_actions is
$$Adds the jobs of task actions that are due, in the order of _due_actions and up to `most` of them.
Returns how many it settled.

A job's payload is the action's config; its run_at is the slot.$$;

create or replace function tidemill._enqueue_plain_actions(plain tidemill._due_task[], at timestamptz) returns void
-- In PL/pgSQL, which keeps its plan: planning at each call takes longer than a hundred actions.
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  with added as (
    select j.id, row_number() over (order by j.id) as nr
    from tidemill.add_jobs(array(
      select row((p.action).task, coalesce((p.action).config, '{}')::json, o ->> 'queue_name', p.slot,
                 tidemill._whole(o, 'max_attempts'), null, tidemill._whole(o, 'priority'),
                 tidemill._flags_of(o))::tidemill.job_spec
      from unnest(plain) with ordinality p (action, state, slot, nr),
        lateral (values ((p.action).job_options)) options (o)
      order by nr),
      limit_names => array(
        select (p.action).job_options ->> 'limit_name'
        from unnest(plain) with ordinality p (action, state, slot, nr) order by nr)) j
  ),
  ended as (
    insert into tidemill._action_runs
      (action_id, application_name, owner, task, slot, started_at, finished_at, outcome, job_id, config)
      select (p.action).id, tidemill._application_name((p.action).id, (p.action).name), (p.action).owner,
             (p.action).task, p.slot, at, greatest(at, clock_timestamp()), 'success', j.id, (p.action).config
      from unnest(plain) with ordinality p (action, state, slot, nr) join added j using (nr)
  )
  update tidemill._action_states s set
    slot = p.slot, last_start = at, last_finish = at, last_successful_finish = at, last_run_success = true,
    total_runs = s.total_runs + 1, total_successes = s.total_successes + 1,
    consecutive_failures = 0, consecutive_crashes = 0,
    next_start = tidemill._start_after_success(p.action, p.slot, at), must_run = false, decided_at = at
    from unnest(plain) p (action, state, slot)
    where s.action_id = (p.action).id;
end
$$;
comment on function tidemill._enqueue_plain_actions is
  'Adds the jobs of actions without a job key, and records the runs, in one statement.';

create or replace function tidemill._enqueue_action(due tidemill._due_task, at timestamptz) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
  new_run bigint;
  added bigint;
  state text;
  message text;
  detail text;
  hint text;
begin
  -- alter_action locks the action first and then its state, which we hold: so do not wait for the action.
  select * into a from tidemill._actions x
    where x.id = (due.action).id and x.scheduled for no key update skip locked;
  if not found then
    return false;
  end if;
  insert into tidemill._action_runs (action_id, application_name, owner, task, slot, started_at, config)
    values (a.id, tidemill._application_name(a.id, a.name), a.owner, a.task, due.slot, at, a.config)
    returning id into new_run;
  update tidemill._action_states s
    set run_id = new_run, slot = due.slot, last_start = at, next_start = '-infinity',
        total_runs = s.total_runs + 1
    where s.action_id = a.id;
  begin
    added := tidemill._add_action_job(a, due.slot);
    update tidemill._action_runs r set job_id = added where r.id = new_run;
  exception when lock_not_available or transaction_rollback or insufficient_resources or system_error then
    -- Not the action's failure.
    perform tidemill._give_back_run(new_run);
    -- Further actions may wait for the same transaction: give up on them sooner.
    perform set_config('lock_timeout', '1ms', true);
    return false;
  when others then
    get stacked diagnostics state = returned_sqlstate, message = message_text,
      detail = pg_exception_detail, hint = pg_exception_hint;
  end;
  perform tidemill._finish_run(new_run, case when state is null then 'success' else 'failure' end, at,
    state, message, nullif(detail, ''), nullif(hint, ''));
  return true;
end
$$;
comment on function tidemill._enqueue_action is
  'Adds the job of one action. If add_job refuses it, the run has failed. Returns false if another transaction holds a lock.';

create or replace function tidemill._add_action_job(a tidemill._actions, slot timestamptz) returns bigint
language sql set search_path = pg_catalog, pg_temp
as $$
  select (tidemill.add_job(
    identifier => a.task,
    payload => coalesce(a.config, '{}')::json,
    run_at => slot,
    queue_name => a.job_options ->> 'queue_name',
    max_attempts => tidemill._whole(a.job_options, 'max_attempts'),
    job_key => a.job_options ->> 'job_key',
    job_key_mode => a.job_options ->> 'job_key_mode',
    priority => tidemill._whole(a.job_options, 'priority'),
    flags => tidemill._flags_of(a.job_options),
    limit_name => a.job_options ->> 'limit_name')).id
$$;
comment on function tidemill._add_action_job is
  'Adds a job of a task action with the action''s options, and returns its id.';

create or replace function tidemill._flags_of(options jsonb) returns text[]
language sql immutable
as $$
  select case when jsonb_typeof(options -> 'flags') = 'array'
    then array(select jsonb_array_elements_text(options -> 'flags')) end
$$;
comment on function tidemill._flags_of is 'The flags in job options; NULL if there are none.';
