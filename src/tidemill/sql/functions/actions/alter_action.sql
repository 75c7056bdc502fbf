create or replace function tidemill.alter_action(
  action_id integer,
  schedule_interval interval default null,
  max_runtime interval default null,
  max_retries integer default null,
  retry_period interval default null,
  scheduled boolean default null,
  config jsonb default null,
  next_start timestamptz default null,
  if_exists boolean default false,
  check_config regproc default null,
  fixed_schedule boolean default null,
  initial_start timestamptz default null,
  timezone text default null,
  name text default null,
  config_merge jsonb default null,
  schedule text default null,
  missed text default null,
  backfill_period interval default null,
  on_failure text default null,
  job_options jsonb default null
) returns table (
  action_id integer,
  schedule_interval interval,
  max_runtime interval,
  max_retries integer,
  retry_period interval,
  scheduled boolean,
  config jsonb,
  next_start timestamptz,
  check_config text,
  fixed_schedule boolean,
  initial_start timestamptz,
  timezone text,
  application_name name,
  name text,
  schedule text,
  missed text,
  backfill_period interval,
  on_failure text,
  job_options jsonb
)
language sql
as $$
  select
    (r.a).id, (r.a).schedule_interval, (r.a).max_runtime, (r.a).max_retries, (r.a).retry_period,
    (r.a).scheduled, (r.a).config,
    case when r.starts operator(pg_catalog.<>) '-infinity' then r.starts end,
    r.checked_by, (r.a).fixed_schedule, (r.a).initial_start, (r.a).timezone, r.application_name, (r.a).name,
    (r.a).cron, (r.a).missed, (r.a).backfill_period, (r.a).on_failure, (r.a).job_options
  from tidemill._alter_action(
    action_id, schedule_interval, max_runtime, max_retries, retry_period, scheduled, config, next_start,
    if_exists, check_config, fixed_schedule, initial_start, timezone, name, config_merge, schedule, missed,
    backfill_period, on_failure, job_options, 'action') r
$$;
comment on function tidemill.alter_action is
$$Changes an action and returns its new state; an argument that is NULL or left out changes nothing.

action_id      the action
next_start     its next start, whatever else changes; infinity: never
if_exists      true: for an unknown id a notice and a row of NULLs, instead of an error
scheduled      false pauses it and stops its run, unless this session is running it. true resumes it;
               a next_start that has passed meanwhile is due at once
config         replaces the config; config_merge instead merges into its top level
check_config   another check; 0 removes it. A changed config is checked, and a new check called at once
               if there is a config. The check runs as the owner, so only the owner may make such a change
initial_start  infinite means now
schedule       makes it a cron schedule; schedule_interval makes it one of intervals
timezone, name, on_failure
               '' unsets them; {} unsets job_options
Others as in add_action.

A change of the interval, cron line, grid or time zone moves next_start: on a fixed schedule to the
next slot after now, else to an interval after the last run's end. Before the first run, a first start
of an interval stays, and a cron line that becomes a drifting interval starts at initial_start, or at once.
During a run, its end sets it. fixed_schedule => true without initial_start starts the grid now if the
schedule was not fixed before.
The column next_start is NULL while it is not known: during a run, or for a first start at once.

Errors: 42704 unknown id, 42501 the caller has neither the rights of the owner nor those of the
database's owner, or is not the owner where a check would be called, 22023, and those of add_action. Behaviour follows TimescaleDB's alter_job.$$;

-- Runs as the caller and has no SET clause, so that the check function has the caller's rights and search_path.
create or replace function tidemill._alter_action(
  action_id integer,
  schedule_interval interval,
  max_runtime interval,
  max_retries integer,
  retry_period interval,
  scheduled boolean,
  config jsonb,
  next_start timestamptz,
  if_exists boolean,
  check_config oid,
  fixed_schedule boolean,
  initial_start timestamptz,
  timezone text,
  name text,
  config_merge jsonb,
  schedule text,
  missed text,
  backfill_period interval,
  on_failure text,
  job_options jsonb,
  noun text,
  out a tidemill._actions,
  out starts timestamptz,
  out checked_by text,
  out application_name name
)
language plpgsql
as $$
declare
  given tidemill._actions;
  altered record;
begin
  perform tidemill._refuse_read_only('alter', noun);
  given.id := action_id;
  given.schedule_interval := schedule_interval;
  given.max_runtime := max_runtime;
  given.max_retries := max_retries;
  given.retry_period := retry_period;
  given.scheduled := scheduled;
  given.config := config;
  given.fixed_schedule := fixed_schedule;
  given.initial_start := initial_start;
  given.timezone := timezone;
  given.name := name;
  given.cron := schedule;
  given.missed := missed;
  given.backfill_period := backfill_period;
  given.on_failure := on_failure;
  given.job_options := job_options;
  insert into tidemill._alter_requests as q (given, check_config, config_merge, new_start, if_exists, noun)
    values (given, check_config, config_merge, next_start, if_exists, noun)
    returning q.a, q.starts, q.checked_by, q.application_name, q.check_call into altered;
  a := altered.a;
  starts := altered.starts;
  checked_by := altered.checked_by;
  application_name := altered.application_name;
  if altered.check_call is not null then
    execute altered.check_call using a.config;
  end if;
end
$$;

-- Roles reach it through _alter_requests with any arguments, so it trusts none but the caller and the time.
create or replace function tidemill._apply_alteration(
  caller regrole,
  given tidemill._actions,
  check_config oid,
  config_merge jsonb,
  new_start timestamptz,
  if_exists boolean,
  noun text,
  at timestamptz default clock_timestamp(),
  out a tidemill._actions,
  out starts timestamptz,
  out checked_by text,
  out application_name name,
  out check_call text,
  out before tidemill._actions
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  found oid;
begin
  if if_exists is not true or exists (select from tidemill._actions o where o.id = given.id) then
    perform tidemill._find_action(caller, given.id, 'alter', noun);
  end if;
  if given.config is not null and config_merge is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'cannot specify both "config" and "config_merge"',
      hint = 'Use "config" to replace the configuration or "config_merge" to merge into it.';
  elsif new_start = '-infinity' then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'cannot set next start to -infinity';
  elsif given.timezone <> '' then
    perform tidemill._check_timezone(given.timezone);
  end if;

  before := tidemill._lock_action(given.id, given.scheduled is false);
  if before.id is null and if_exists then
    raise notice using message = format('%s %s not found, skipping', noun, coalesce(given.id, 0));
    return;
  end if;
  -- While we waited, the action may have been deleted, or added by another role.
  perform tidemill._find_action(caller, given.id, 'alter', noun);
  a := tidemill._with_changes(before, given, config_merge);
  a := tidemill._with_grid(a, before, given, noun, at);
  perform tidemill._check_schedule(a, noun);
  if given.cron is not null then
    a.cron_fields := tidemill._read_cron(a.cron);
  end if;
  if check_config = 0 then
    a.check_schema := null;
    a.check_name := null;
    a.check_oid := null;
    a.check_owner := null;
  elsif check_config is not null then
    perform tidemill._check_check(check_config, a.owner, noun);
    a.check_oid := check_config;
  end if;
  perform tidemill._check_limits(a);
  perform tidemill._check_name(a.id, a.name);
  if check_config > 0 or a.check_name is not null and a.config is not null then
    found := case when check_config > 0 then check_config else tidemill._found_check(a) end;
    if found is null then
      raise warning using message = format(
        'function %I.%I(config jsonb) %s, skipping config validation for %s %s', a.check_schema, a.check_name,
        case when tidemill._check(a.check_schema, a.check_name) is null then 'not found'
          else 'is not the one that was given, and has only its name' end,
        noun, a.id);
    else
      select n.nspname, p.proname, p.oid, p.proowner into a.check_schema, a.check_name, a.check_oid, a.check_owner
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = found;
    end if;
  end if;
  if found is not null and a.config is not null
    and (check_config is not null or a.config is distinct from before.config)
  then
    if caller <> a.owner then
      raise exception using errcode = 'insufficient_privilege',
        message = format('only the owner of %s %s may change its config, since that calls the check function %I.%I',
                         noun, a.id, a.check_schema, a.check_name),
        detail = format('The check would run with the rights of "%s", and the owner is "%s".',
                        pg_get_userbyid(caller), pg_get_userbyid(a.owner)),
        hint = 'Let the owner do it, or remove the check in the same call: check_config => 0.';
    end if;
    check_call := tidemill._check_call(found);
  end if;

  update tidemill._actions o set
    name = a.name, job_options = a.job_options, config = a.config, check_schema = a.check_schema,
    check_name = a.check_name, check_oid = a.check_oid, check_owner = a.check_owner,
    schedule_interval = a.schedule_interval, cron = a.cron, cron_fields = a.cron_fields,
    fixed_schedule = a.fixed_schedule, initial_start = a.initial_start,
    timezone = a.timezone, missed = a.missed, backfill_period = a.backfill_period, scheduled = a.scheduled,
    paused_because = a.paused_because, max_runtime = a.max_runtime, max_retries = a.max_retries,
    retry_period = a.retry_period, on_failure = a.on_failure
    where o.id = a.id;
  select coalesce(new_start, tidemill._moved_start(a, before, s, at)) into starts
    from tidemill._action_states s where s.action_id = a.id for no key update;
  update tidemill._action_states s
    set next_start = starts, must_run = new_start is not null or s.must_run and s.next_start = starts,
        decided_at = case when new_start is not null then null when s.next_start = starts then s.decided_at else at end
    where s.action_id = a.id;
  checked_by := a.check_schema || '.' || a.check_name;
  application_name := tidemill._application_name(a.id, a.name);
  if given.scheduled is false then
    perform tidemill._ask_to_stop(a.id, 'paused');
  end if;
  perform tidemill._notify_actions();
end
$$;
comment on function tidemill._apply_alteration is
$$Changes an action that the caller may manage; returns it, its next start, the call of its check function, and the
action as it was.

The call is NULL unless the config or its check changes.

given  the changes; NULL changes nothing
at     the present time$$;
