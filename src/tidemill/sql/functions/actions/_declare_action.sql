-- Schedules that tasks declare in their code: a worker that starts brings the actions in step with them.

create or replace function tidemill._declare_action(
  identifier text,
  schedule_interval interval default null,
  cron text default null,
  timezone text default null,
  missed text default 'run_once',
  at timestamptz default clock_timestamp()
) returns table (action_id integer, outcome text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  -- Not by the public functions: these note who did it, and a worker's start is nobody's act.
  caller constant regrole := tidemill._who(current_user);
  a tidemill._actions;
  given tidemill._actions;
  same_slots boolean;
  grid timestamptz;
  first_slot timestamptz;
begin
  perform tidemill._lock_declarations();
  select * into a from tidemill._actions x where x.declared and x.task = identifier;
  action_id := a.id;
  -- As texts: a day is 24 hours only where the clocks do not change.
  same_slots := (a.schedule_interval::text, a.cron, a.timezone)
    is not distinct from (schedule_interval::text, cron, timezone);
  if action_id is not null and same_slots then
    outcome := 'kept';
    if a.missed <> missed then
      outcome := 'changed';
      given.id := action_id;
      given.missed := missed;
      perform tidemill._apply_alteration(caller, given, null, null, null, false, 'action');
    end if;
    return next;
    return;
  end if;

  if schedule_interval > interval '0' then
    perform tidemill._check_timezone(timezone);
    grid := timestamp '2000-01-03' at time zone coalesce(timezone, 'UTC');
    first_slot := tidemill.next_start(schedule_interval, grid, timezone, at);
  end if;
  if action_id is null then
    outcome := 'added';
    given.task := identifier;
    given.name := identifier;
    given.schedule_interval := schedule_interval;
    given.cron := cron;
    given.initial_start := grid;
    given.timezone := timezone;
    given.missed := missed;
    select i.action_id into action_id from tidemill._insert_action(caller, given, null, false, 'action') i;
    update tidemill._actions x set declared = true where x.id = action_id;
    if first_slot is not null then
      -- Otherwise all slots since the grid began would count as missed.
      given := null;
      given.id := action_id;
      perform tidemill._apply_alteration(caller, given, null, null, first_slot, false, 'action');
    end if;
  else
    outcome := 'changed';
    given.id := action_id;
    given.schedule_interval := case when a.schedule_interval::text is distinct from schedule_interval::text
      then schedule_interval end;
    given.cron := nullif(cron, a.cron);
    given.fixed_schedule := true;
    given.initial_start := grid;
    given.timezone := coalesce(timezone, '');
    given.missed := missed;
    perform tidemill._apply_alteration(caller, given, null, null, first_slot, false, 'action');
  end if;
  if first_slot is not null then
    -- It is a slot like the others.
    update tidemill._action_states s set must_run = false where s.action_id = _declare_action.action_id;
  end if;
  return next;
end
$$;
comment on function tidemill._declare_action is
$$Gives a task the action that its code declares, with exactly this schedule.

Returns the action's id, and whether it was added, changed or kept. Settings that the code does not
name stay as operators set them: scheduled, config, limits. The grid of an interval begins on Monday
2000-01-03 at midnight of the time zone, so the slots do not depend on when a worker first started.
Errors as for tidemill.add_action.$$;

create or replace function tidemill._undeclare_actions(identifiers text[])
returns table (action_id integer, identifier text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  a record;
begin
  perform tidemill._lock_declarations();
  for a in
    select x.id, x.task from tidemill._actions x
    where x.declared and x.task = any(identifiers) order by x.id
  loop
    perform tidemill._remove_action(tidemill._who(current_user), a.id, 'action');
    action_id := a.id;
    identifier := a.task;
    return next;
  end loop;
end
$$;
comment on function tidemill._undeclare_actions is
  'Deletes and returns the declared actions of tasks whose code declares no schedule now.';

create or replace function tidemill._lock_declarations() returns void
language sql
as $$
  -- One worker at a time.
  select tidemill._lock('declarations')
$$;
