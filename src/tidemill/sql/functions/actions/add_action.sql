create or replace function tidemill.add_action(
  proc regproc default null,
  schedule_interval interval default null,
  config jsonb default null,
  initial_start timestamptz default null,
  scheduled boolean default true,
  check_config regproc default null,
  fixed_schedule boolean default true,
  timezone text default null,
  name text default null,
  schedule text default null,
  task text default null,
  max_runtime interval default null,
  max_retries integer default null,
  retry_period interval default null,
  missed text default 'run_once',
  backfill_period interval default null,
  on_failure text default null,
  job_options jsonb default null,
  if_not_exists boolean default false
) returns integer
language sql
as $$
  select tidemill._add_action(
    proc, schedule_interval, config, initial_start, scheduled, check_config, fixed_schedule, timezone, name,
    schedule, task, max_runtime, max_retries, retry_period, missed, backfill_period, on_failure, job_options,
    if_not_exists, 'action')
$$;
comment on function tidemill.add_action is
$$Adds an action, something that runs on a schedule, and returns its id. The caller becomes its owner.

proc               function or procedure to run; it is called with (id integer, config jsonb). Of several
                   with the name: 'app.purge(integer, jsonb)'::regprocedure
task               or the identifier of a task: a job of it is added, with config as payload
schedule_interval  how often
schedule           or a cron line, such as '30 4 * * 1'
config             handed to the routine, or the job's payload; default NULL, for a task {}
initial_start      the first start, and origin of the grid of a fixed schedule. Default: now. With a
                   cron line the earliest start. Infinite counts as not given
scheduled          false adds a paused action; default true
check_config       function (config jsonb) that raises an exception for an invalid config. It is called
                   now, and whenever alter_action changes the config or the check
fixed_schedule     true (default): starts at initial_start + n intervals. false: an interval after the
                   last run ended. A cron line is always fixed
timezone           days and months are counted, and cron lines read, on its clocks; default UTC
name               shown in views, and the beginning of the application_name; need not be unique
max_runtime        a run that takes longer is stopped; default 0, no limit
max_retries        failures in a row after which the action is paused; default -1, never
retry_period       wait after a failure, multiplied by the failures in a row; default 5 minutes
missed             what to do about slots that no worker came to within a minute: run_once (default)
                   runs once for all of them, skip passes over them, backfill runs each
backfill_period    greatest age of a slot that is backfilled; default any age
on_failure         task of which a job is added when a run fails
job_options        of a task's jobs: queue_name, max_attempts, job_key, job_key_mode, priority, flags,
                   limit_name
if_not_exists      true: if the caller owns or has added an action of this name, return its id and change nothing

Errors: 22023 an impossible argument, 42883 no such routine, or it does not take (integer, jsonb), 42725
several of the name, or a call could mean another one, 42704 an OID without one, 42501 no EXECUTE right,
0A000 a fixed interval of months and days, a routine that returns a set, or a check that is no function, 28000 the caller is a role without LOGIN, 42622 the name is too long, 25006, what
add_job raises for task and job_options, and whatever check_config raises. Behaviour follows
TimescaleDB's add_job.$$;

-- Runs as the caller and has no SET clause, so that the check function has the caller's rights and search_path.
create or replace function tidemill._add_action(
  proc oid,
  schedule_interval interval,
  config jsonb,
  initial_start timestamptz,
  scheduled boolean,
  check_config oid,
  fixed_schedule boolean,
  timezone text,
  name text,
  schedule text,
  task text,
  max_runtime interval,
  max_retries integer,
  retry_period interval,
  missed text,
  backfill_period interval,
  on_failure text,
  job_options jsonb,
  if_not_exists boolean,
  noun text
) returns integer
language plpgsql
as $$
declare
  a tidemill._actions;
  added record;
begin
  perform tidemill._refuse_read_only('add', noun);
  a.proc_oid := proc;
  a.schedule_interval := schedule_interval;
  a.config := config;
  a.initial_start := initial_start;
  a.scheduled := scheduled;
  a.fixed_schedule := fixed_schedule;
  a.timezone := timezone;
  a.name := name;
  a.cron := schedule;
  a.task := task;
  a.max_runtime := max_runtime;
  a.max_retries := max_retries;
  a.retry_period := retry_period;
  a.missed := missed;
  a.backfill_period := backfill_period;
  a.on_failure := on_failure;
  a.job_options := job_options;
  insert into tidemill._add_requests (a, check_config, if_not_exists, noun)
    values (a, check_config, if_not_exists, noun)
    returning action_id, check_call into added;
  if added.check_call is not null then
    execute added.check_call using config;
  end if;
  return added.action_id;
end
$$;

-- Roles reach it through _add_requests with any arguments, so it trusts none but the caller and the time.
create or replace function tidemill._insert_action(
  caller regrole,
  a tidemill._actions,
  check_config oid,
  if_not_exists boolean,
  noun text,
  at timestamptz default clock_timestamp(),
  out action_id integer,
  out check_call text
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  starts timestamptz;
begin
  if a.timezone is not null then
    perform tidemill._check_timezone(a.timezone);
  end if;
  if if_not_exists then
    action_id := tidemill._action_of_name(caller, a.name);
    if action_id is not null then
      raise notice using errcode = 'duplicate_object',
        message = format('%s "%s" already exists as number %s, skipping', noun, a.name, action_id);
      return;
    end if;
  end if;

  a.owner := caller;
  a.scheduled := coalesce(a.scheduled, true);
  a.fixed_schedule := coalesce(a.fixed_schedule, true);
  a.missed := coalesce(a.missed, 'run_once');
  a.max_runtime := coalesce(a.max_runtime, '0');
  a.max_retries := coalesce(a.max_retries, -1);
  a.retry_period := coalesce(a.retry_period, '5 minutes');
  if a.proc_oid is null and a.task is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'function or procedure cannot be NULL';
  elsif a.proc_oid is not null and a.task is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'proc and task exclude each other',
      hint = 'Give proc for a function or procedure, or task to add a job of a task.';
  end if;
  perform tidemill._check_schedule(a, noun);
  if a.cron is not null then
    a.cron_fields := tidemill._read_cron(a.cron);
  end if;

  a.proc_schema := null;
  a.proc_name := null;
  a.proc_owner := null;
  if a.proc_oid is not null then
    select n.nspname, p.proname, p.proowner into a.proc_schema, a.proc_name, a.proc_owner
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = a.proc_oid;
    if not found then
      raise exception using errcode = 'undefined_object',
        message = format('function or procedure with OID %s does not exist', a.proc_oid);
    end if;
    perform tidemill._check_executable(a.proc_oid, a.owner, noun);
    perform tidemill._check_routine(a.proc_oid, a.proc_schema, a.proc_name);
  end if;
  a.check_schema := null;
  a.check_name := null;
  a.check_oid := check_config;
  a.check_owner := null;
  if check_config is not null then
    perform tidemill._check_check(check_config, a.owner, noun);
    select n.nspname, p.proname, p.proowner into a.check_schema, a.check_name, a.check_owner
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = check_config;
    check_call := tidemill._check_call(check_config);
  end if;
  perform tidemill._check_login(a.owner, noun);
  perform tidemill._check_limits(a);
  action_id := nextval('tidemill._action_ids');
  perform tidemill._check_name(action_id, a.name);

  if not isfinite(a.initial_start) then
    a.initial_start := null;
    if a.fixed_schedule and a.cron is null then
      raise notice using message = format('Using current time [%s] as initial start for %s %s', at, noun, action_id);
    end if;
  end if;
  if a.fixed_schedule and a.cron is null then
    a.initial_start := coalesce(a.initial_start, at);
  end if;
  starts := case
    when a.cron is null then coalesce(a.initial_start, '-infinity')
    when a.missed = 'backfill' and a.initial_start < at
      then tidemill._next_slot(a, a.initial_start - interval '1 microsecond')
    else tidemill._next_slot(a, at)
  end;

  perform tidemill._anchor_owner(a.owner);
  insert into tidemill._actions
    (id, name, proc_schema, proc_name, proc_oid, proc_owner, task, job_options, owner, added_by, config,
     check_schema, check_name, check_oid, check_owner,
     schedule_interval, cron, cron_fields, fixed_schedule, initial_start, timezone, missed, backfill_period,
     scheduled, max_runtime, max_retries, retry_period, on_failure, created_at)
    values (action_id, a.name, a.proc_schema, a.proc_name, a.proc_oid, a.proc_owner, a.task, a.job_options, a.owner,
      caller, a.config, a.check_schema, a.check_name, a.check_oid, a.check_owner, a.schedule_interval, a.cron, a.cron_fields, a.fixed_schedule,
      a.initial_start, a.timezone, a.missed, a.backfill_period, a.scheduled, a.max_runtime, a.max_retries,
      a.retry_period, a.on_failure, at);
  insert into tidemill._action_states (action_id, next_start, decided_at, must_run)
    -- The first start, at once, is no slot that was missed; backfill counts back to it.
    values (_insert_action.action_id, starts, at, a.cron is null and a.missed <> 'backfill' and starts <= at);
  perform tidemill._notify_actions();
end
$$;
comment on function tidemill._insert_action is
$$Checks and stores an action, which the caller then owns; returns its id, and the call of its check function.

at is the present time. If if_not_exists finds an action of that name, it returns that id and no call.$$;

create or replace function tidemill._action_of_name(caller regrole, name text) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  lock_name text;
begin
  if name is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'if_not_exists needs a name', hint = 'The name tells which action it is.';
  end if;
  -- A second caller with the same name waits here, and then sees the first one's action.
  -- For each role a lock of its own: an open transaction of one role holds up no other.
  lock_name := format('action of %s: %s', caller::oid, hashtextextended(name, 0));
  perform tidemill._lock(lock_name);
  -- The row stays locked until the transaction ends, and then it is gone.
  delete from tidemill._locks l where l.name = lock_name;
  -- Not any that it may manage: a superuser would take another role's for its own.
  return (select min(o.id) from tidemill._actions o
          where o.name = _action_of_name.name and caller in (o.owner, o.added_by));
end
$$;
comment on function tidemill._action_of_name is
  'The first action of a name that the caller owns or has added, or NULL. No other session of the caller gets NULL until the transaction ends.';
