-- The rules for an action's definition. Each check raises an error that says what to change.

create or replace function tidemill._application_name(id integer, name text) returns text
language sql immutable
return coalesce(name, 'User-Defined Action') || ' [' || id::text || ']';
comment on function tidemill._application_name is
  'The application_name of the server process of an action''s run. _check_name keeps it within 63 bytes.';

create or replace function tidemill._check_name(id integer, name text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if name = '' then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'name cannot be empty', hint = 'Leave it out for an action without a name.';
  elsif octet_length(tidemill._application_name(id, name)) > 63 then
    raise exception using errcode = 'name_too_long',
      message = 'application name too long.',
      detail = format('"%s" has %s bytes, and 63 fit.', tidemill._application_name(id, name),
                      octet_length(tidemill._application_name(id, name)));
  end if;
end
$$;

create or replace function tidemill._check_schedule(a tidemill._actions, noun text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  i interval := a.schedule_interval;
begin
  if i is null and a.cron is null and noun = 'job' then
    raise exception using errcode = 'invalid_parameter_value', message = 'schedule interval cannot be NULL';
  elsif i is null and a.cron is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'schedule_interval and schedule cannot both be NULL',
      hint = 'Give schedule_interval for an interval, or schedule for a cron line.';
  elsif i is not null and a.cron is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'schedule_interval and schedule exclude each other',
      hint = 'Give schedule_interval for an interval, or schedule for a cron line.';
  elsif a.cron is not null and not a.fixed_schedule then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'a cron line is always a fixed schedule',
      hint = 'Leave fixed_schedule out, or give schedule_interval instead of schedule.';
  elsif i <= interval '0' or not isfinite(i) then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'schedule interval must be positive and finite',
      detail = format('It is %s.', i),
      hint = 'To keep an action from running use scheduled => false.';
  elsif i < interval '1 second' then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'schedule interval must be at least 1 second',
      detail = format('It is %s.', i),
      hint = 'For more frequent work, let each run work for a while, or add jobs.';
  elsif not a.fixed_schedule and extract(year from i) * 12 + extract(month from i) <> 0
    and least(extract(month from i), extract(year from i), extract(day from i),
              extract(epoch from i - date_trunc('day', i))) < 0
  then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'schedule interval mixes months and negative days or times',
      detail = format('It is %s, which is not positive in every month.', i),
      hint = 'Express the interval in terms of days or time alone.';
  elsif a.fixed_schedule and extract(year from i) * 12 + extract(month from i) <> 0
    and (extract(day from i), extract(hour from i), extract(minute from i), extract(microseconds from i))
      <> (0, 0, 0, 0)
  then
    raise exception using errcode = 'feature_not_supported',
      message = 'month intervals cannot have day or time component',
      detail = format('Fixed schedule %ss do not support such schedule intervals.', noun),
      hint = 'Express the interval in terms of days or time instead.';
  elsif a.missed not in ('run_once', 'skip', 'backfill') then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('missed "%s" is unknown', a.missed),
      hint = 'Use run_once, skip or backfill.';
  elsif a.missed = 'backfill' and not a.fixed_schedule then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'missed => ''backfill'' needs a fixed schedule',
      detail = 'Without one the next start depends on when the last run ended, and none is missed.';
  elsif a.backfill_period is not null and a.missed <> 'backfill' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('backfill_period has no meaning with missed => ''%s''', a.missed),
      hint = 'Give missed => ''backfill'', too.';
  elsif a.backfill_period <= interval '0' or not isfinite(a.backfill_period) then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'backfill_period must be positive and finite',
      detail = format('It is %s.', a.backfill_period),
      hint = 'Leave it out to run all missed slots, however old.';
  end if;
end
$$;
comment on function tidemill._check_schedule is
  'Refuses impossible schedules with 22023, and months mixed with days with 0A000.';

create or replace function tidemill._check_limits(a tidemill._actions) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if a.max_runtime < interval '0' or not isfinite(a.max_runtime) then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'max_runtime cannot be negative or infinite',
      detail = format('It is %s.', a.max_runtime), hint = 'Use 0 for no limit.';
  elsif a.max_retries < -1 then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('max_retries %s is below -1', a.max_retries),
      hint = 'Use -1 for no limit, 0 to pause after the first failure.';
  elsif a.retry_period <= interval '0' or not isfinite(a.retry_period) then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'retry_period must be positive and finite',
      detail = format('It is %s.', a.retry_period);
  elsif a.task = '' or a.on_failure = '' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('%s cannot be empty', case a.task when '' then 'task' else 'on_failure' end),
      hint = 'Give the identifier of a task.';
  end if;
  perform tidemill._refuse_job(coalesce(a.task, ''), null, null, null, null, null);
  perform tidemill._refuse_job(coalesce(a.on_failure, ''), null, null, null, null, null, ' in on_failure');
  perform tidemill._check_job_options(a.job_options, a.task);
end
$$;
comment on function tidemill._check_limits is
  'Refuses impossible limits, task names and job options with 22023 and the errors of add_job.';

create or replace function tidemill._check_job_options(options jsonb, task text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  o record;
  kind text;
begin
  if options is null then
    return;
  elsif task is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'job_options have no meaning without task',
      hint = 'Leave them out: a function or procedure is run as it is, without a job.';
  elsif jsonb_typeof(options) <> 'object' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('job_options must be an object, not %s', jsonb_typeof(options)),
      hint = 'Write it like {"priority": 5, "queue_name": "letters"}.';
  end if;
  for o in select e.key, e.value, jsonb_typeof(e.value) as given from jsonb_each(options) e loop
    kind := case o.key
      when 'queue_name' then 'string' when 'job_key' then 'string' when 'job_key_mode' then 'string'
      when 'limit_name' then 'string'
      when 'max_attempts' then 'number' when 'priority' then 'number' when 'flags' then 'array' end;
    if kind is null then
      raise exception using errcode = 'invalid_parameter_value',
        message = format('job_options has an unknown key "%s"', o.key),
        hint = 'Use limit_name, queue_name, max_attempts, job_key, job_key_mode, priority and flags.';
    elsif o.given not in (kind, 'null')
      or kind = 'number' and o.given = 'number' and (o.value #>> '{}')::numeric % 1 <> 0
      or kind = 'array' and o.given = 'array'
        and exists (select from jsonb_array_elements(o.value) f where jsonb_typeof(f) <> 'string')
    then
      raise exception using errcode = 'invalid_parameter_value',
        message = format('job_options: %s must be %s, not %s', o.key,
          case kind when 'number' then 'a whole number' when 'array' then 'an array of texts' else 'a text' end,
          o.value);
    end if;
  end loop;
  perform tidemill._refuse_job('', options ->> 'queue_name',
    tidemill._whole(options, 'max_attempts'),
    options ->> 'job_key', tidemill._whole(options, 'priority'),
    case when jsonb_typeof(options -> 'flags') = 'array'
      then array(select jsonb_array_elements_text(options -> 'flags')) end,
    ' in job_options');
  if options ->> 'job_key_mode' is not null then
    perform tidemill._check_job_key_mode(options ->> 'job_key_mode', ' in job_options');
  end if;
end
$$;
comment on function tidemill._check_job_options is
  'Refuses options that add_job would refuse, while the caller is there to see the error.';

create or replace function tidemill._whole(options jsonb, key text) returns integer
language sql immutable
as $$
  -- 1.0 and 1e3 are whole numbers, too. A number that no integer can hold stays out of range when clamped.
  select case when o.n is not null then greatest(-2147483648, least(2147483647, o.n))::integer end
  from (values ((options ->> key)::numeric)) o (n)
$$;

create or replace function tidemill._check_executable(routine oid, owner regrole, noun text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not has_function_privilege(owner::oid, routine, 'execute') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('permission denied for function "%s"',
                       (select p.proname from pg_proc p where p.oid = routine)),
      hint = format('%s owner must have EXECUTE privilege on the function.', initcap(noun));
  end if;
end
$$;

create or replace function tidemill._check_routine(routine oid, proc_schema name, proc_name name) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if tidemill._routine(proc_schema, proc_name) is distinct from routine then
    raise exception using errcode = 'undefined_function',
      message = format('%s cannot run as an action: its parameters are not (integer, jsonb)', routine::regprocedure),
      detail = (
        select format('It is a %s %s.',
          case when p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) then 'trigger function'
            when p.prokind = 'p' then 'procedure' when p.prokind = 'f' then 'function'
            else 'function that aggregates rows' end,
          coalesce('with the parameters (' || nullif(pg_get_function_arguments(p.oid), '') || ')', 'without parameters'))
        from pg_proc p where p.oid = routine),
      hint = case
        when tidemill._routine(proc_schema, proc_name) is null
          then 'Custom job actions must accept (integer, jsonb) arguments.'
        else format('Give the one that has them: %L::regprocedure.', tidemill._routine(proc_schema, proc_name)::regprocedure)
      end;
  end if;
  perform from tidemill._routine_call(proc_schema, proc_name);
end
$$;
comment on function tidemill._check_routine is
  'Refuses routines that a run could not call: 42883, and the errors of tidemill._routine_call.';

create or replace function tidemill._check_login(owner regrole, noun text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not (select r.rolcanlogin from pg_roles r where r.oid = owner) then
    raise exception using errcode = 'invalid_authorization_specification',
      message = format('permission denied to start background process as role "%s"', pg_get_userbyid(owner)),
      hint = case noun
        when 'job' then 'Hypertable owner must have LOGIN permission to run background tasks.'
        else 'The owner of an action must be a role with LOGIN.'
      end;
  end if;
end
$$;

create or replace function tidemill._check_check(check_config oid, owner regrole, noun text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  f record;
begin
  select p.proname, n.nspname, p.prokind, p.pronargs, p.proargtypes[0] as argument into f
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.oid = check_config;
  if not found then
    raise exception using errcode = 'undefined_object',
      message = format('function with OID %s does not exist', check_config);
  end if;
  perform tidemill._check_executable(check_config, owner, noun);
  if f.pronargs <> 1 or f.argument <> 'jsonb'::regtype then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('function or procedure %I.%I(config jsonb) not found', f.nspname, f.proname),
      hint = 'The check function''s signature must be (config jsonb).';
  elsif f.prokind <> 'f' then
    raise exception using errcode = 'feature_not_supported',
      message = 'unsupported function type',
      detail = 'Only functions are allowed as custom configuration checks',
      hint = 'Use a FUNCTION instead';
  end if;
end
$$;
comment on function tidemill._check_check is
  'Refuses functions that cannot check a config: 42704, 42501, 22023, 0A000.';

create or replace function tidemill._check_call(check_config oid) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('select %I.%I(%s)', n.nspname, p.proname, format(tidemill._arguments(p.oid), '$1'))
  from pg_namespace n join pg_proc p on p.pronamespace = n.oid
  where p.oid = check_config
$$;
comment on function tidemill._check_call is
  'The call of a check function, with the config as parameter $1. Error 42725: it could mean another one, too.';

create or replace function tidemill._action_summary(a tidemill._actions) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
      'owner', a.owner, 'proc_schema', a.proc_schema, 'proc_name', a.proc_name, 'task', a.task,
      'scheduled', a.scheduled, 'max_retries', a.max_retries, 'max_runtime', a.max_runtime,
      'retry_period', a.retry_period, 'schedule_interval', a.schedule_interval, 'schedule', a.cron,
      'fixed_schedule', a.fixed_schedule, 'initial_start', a.initial_start, 'timezone', a.timezone,
      'check_schema', a.check_schema, 'check_name', a.check_name))
    || case when a.config is null then '{}' else jsonb_build_object('config', a.config) end
$$;
comment on function tidemill._action_summary is
  'A definition as the history keeps it, without the settings that are NULL.';
