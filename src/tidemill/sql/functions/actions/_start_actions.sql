-- What is due: routines are handed to the worker that asks, tasks become jobs at once.

create or replace function tidemill._skip_missed(at timestamptz default clock_timestamp()) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due record;
  first_kept timestamptz;
  skipped integer := 0;
begin
  for due in
    select a, s.next_start
      from tidemill._action_states s
      join tidemill._actions a on a.id = s.action_id
      where s.run_id is null and s.next_start < at and a.scheduled and isfinite(s.next_start)
        and a.missed in ('skip', 'backfill')
        -- A retry is no slot that could be missed.
        and s.consecutive_failures = 0 and s.consecutive_crashes = 0
      for no key update of s, a skip locked
  loop
    first_kept := null;
    begin
      if (due.a).missed = 'backfill' then
        if due.next_start < tidemill._oldest_slot(due.a, at) then
          first_kept := tidemill._next_slot(due.a, tidemill._oldest_slot(due.a, at) - interval '1 microsecond');
        end if;
      elsif at > least(due.next_start + interval '1 minute', tidemill._next_slot(due.a, due.next_start)) then
        first_kept := tidemill._next_slot(due.a, at);
      end if;
    exception when others then
      perform tidemill._pause_unreadable((due.a).id, sqlerrm);
    end;
    continue when first_kept is null;
    insert into tidemill._action_runs
      (action_id, application_name, owner, proc_schema, proc_name, task, slot, started_at, finished_at,
       outcome, config, message)
      values ((due.a).id, tidemill._application_name((due.a).id, (due.a).name), (due.a).owner,
              (due.a).proc_schema, (due.a).proc_name, (due.a).task, due.next_start, at, at,
              'skipped', (due.a).config,
              format('slots from %s to before %s were missed', due.next_start, first_kept));
    update tidemill._action_states s set next_start = first_kept, slot = due.next_start
      where s.action_id = (due.a).id;
    skipped := skipped + 1;
  end loop;
  return skipped;
end
$$;
comment on function tidemill._skip_missed is
$$Passes over slots that were missed, where the action wants that: each time a row in the history tells.

A slot is missed when nobody came to it within a minute, or before the slot after it if that is sooner.
With backfill only slots older than the backfill period are passed over.$$;

create or replace function tidemill._oldest_slot(a tidemill._actions, at timestamptz) returns timestamptz
language sql stable
as $$
  -- Times do not go back much farther than that, and an error would be every action's.
  select case when a.backfill_period < interval '6000 years' then
    (at at time zone coalesce(a.timezone, 'UTC') - a.backfill_period) at time zone coalesce(a.timezone, 'UTC') end
$$;
comment on function tidemill._oldest_slot is 'The oldest slot that is still backfilled; NULL where all are.';

create or replace function tidemill._slot_of(
  a tidemill._actions, s tidemill._action_states, at timestamptz
) returns timestamptz
language sql
as $$
  select case
    -- -infinity, or a time that hardly has one before it.
    when s.next_start < '4713-01-01 00:00+00 BC' then at
    when s.slot is null or s.consecutive_failures + s.consecutive_crashes = 0 then s.next_start
    -- Tried again: for the slot that it failed at, unless the next one has come and none is made up for.
    when a.missed = 'backfill' and s.slot < tidemill._oldest_slot(a, at) then least(
      at, tidemill._next_slot(a, tidemill._oldest_slot(a, at) - interval '1 microsecond'))
    when a.missed = 'backfill'
      or s.next_start is distinct from tidemill._next_slot(a, s.next_start - interval '1 microsecond')
      then s.slot
    else s.next_start
  end
$$;
comment on function tidemill._slot_of is 'The scheduled time that a run which is due is for.';

create or replace function tidemill._start_actions(
  worker_id text, slots integer, at timestamptz default clock_timestamp()
) returns table (
  run_id bigint, action_id integer, application_name text, max_runtime double precision
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due record;
  due_slot timestamptz;
begin
  for due in
    -- Both rows are locked, so that whoever pauses or deletes an action sees its run, or comes first.
    select a, s
      from tidemill._action_states s
      join tidemill._actions a on a.id = s.action_id
      where s.run_id is null and s.next_start <= at and a.scheduled and a.task is null
        -- Others' actions are left to workers that may act as them. That there is none is a failed run.
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
$$Starts up to so many routines that are due, the longest due first, and returns the runs. _skip_missed comes first.

Whoever gets them must run them and call _finish_run; what a lost worker had is found by _sweep_runs.$$;

create or replace function tidemill._enqueue_actions(most integer, at timestamptz default clock_timestamp())
returns integer
-- A producer may hold a job's key for long: nothing else shall wait for it.
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
declare
  taken tidemill._due_task[];
  plain tidemill._due_task[];
  due tidemill._due_task;
  added integer;
begin
  select array_agg(d::tidemill._due_task), array_agg(d::tidemill._due_task) filter (where (d.a).job_options is null)
    into taken, plain
    from (
      select a, s, tidemill._slot_of(a, s, at)
        from tidemill._action_states s
        join tidemill._actions a on a.id = s.action_id
        where s.run_id is null and s.next_start <= at and a.scheduled and a.task is not null
        order by s.next_start, s.action_id
        limit most
        -- Who pauses one at this moment may just miss this job, as by a moment more.
        for no key update of s skip locked
    ) d;
  added := coalesce(cardinality(taken), 0);
  begin
    perform tidemill._enqueue_plain_actions(plain, at);
  exception when others then
    -- One of them spoils it for all: each alone then, which tells whose fault it is.
    plain := '{}';
  end;
  foreach due in array coalesce(taken, '{}') loop
    if (due.action).job_options is not null or plain = '{}' then
      added := added - (not tidemill._enqueue_action(due, at))::integer;
    end if;
  end loop;
  return added;
end
$$;
comment on function tidemill._enqueue_actions is
$$Adds the jobs of up to so many task actions that are due, and returns how many were settled.

A job's payload is the action's config, its run_at the slot.$$;

create or replace function tidemill._enqueue_plain_actions(plain tidemill._due_task[], at timestamptz) returns void
-- Not SQL: that would be planned anew at each call, which takes longer than a hundred actions.
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  with added as (
    select j.id, row_number() over (order by j.id) as nr
    from tidemill.add_jobs(array(
      select row((p.action).task, coalesce((p.action).config, '{}')::json, null, p.slot, null, null, null, null)
               ::tidemill.job_spec
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
    next_start = tidemill._start_after_success(p.action, p.slot, at)
    from unnest(plain) p (action, state, slot)
    where s.action_id = (p.action).id;
end
$$;
comment on function tidemill._enqueue_plain_actions is 'The same for actions without job options, in one statement.';

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
  -- Who alters an action has locked it, and waits for its state, which is ours.
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
  exception when lock_not_available then
    perform tidemill._give_back_run(new_run);
    -- Many may be in the way of the same transaction.
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
  'Adds the job of one action; that it cannot be added is a failed run. False: another transaction stands in the way.';

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
    job_key_mode => coalesce(a.job_options ->> 'job_key_mode', 'replace'),
    priority => tidemill._whole(a.job_options, 'priority'),
    flags => case when jsonb_typeof(a.job_options -> 'flags') = 'array'
      then array(select jsonb_array_elements_text(a.job_options -> 'flags')) end)).id
$$;
comment on function tidemill._add_action_job is 'Adds a job of a task action, with its options, and returns the id.';

create or replace function tidemill._next_due(
  with_routines boolean default true, at timestamptz default clock_timestamp()
) returns double precision
language sql set search_path = pg_catalog, pg_temp
as $$
  -- Infinite times cannot be subtracted before 17, but the epochs' difference can.
  select (extract(epoch from s.next_start) - extract(epoch from at))::float8
    from tidemill._action_states s
    join tidemill._actions a on a.id = s.action_id
    where s.run_id is null and a.scheduled and s.next_start < 'infinity'
      and (with_routines or a.task is not null)
    order by s.next_start
    limit 1
$$;
comment on function tidemill._next_due is
  'Seconds until an action is due, negative where one is; NULL where none will be. Without routines: task actions alone.';
