-- What an action's definition is after alter_action.

create or replace function tidemill._with_changes(
  a tidemill._actions, given tidemill._actions, config_merge jsonb
) returns tidemill._actions
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(config_merge) <> 'object' or jsonb_typeof(a.config) <> 'object' and config_merge is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('config_merge needs two objects, and merges %s into %s',
                       jsonb_typeof(config_merge), coalesce(jsonb_typeof(a.config), 'nothing')),
      hint = 'Use config to replace the configuration.';
  end if;
  a.max_runtime := coalesce(given.max_runtime, a.max_runtime);
  a.max_retries := coalesce(given.max_retries, a.max_retries);
  a.retry_period := coalesce(given.retry_period, a.retry_period);
  a.config := coalesce(given.config, a.config || config_merge, config_merge, a.config);
  a.name := nullif(coalesce(given.name, a.name), '');
  a.timezone := nullif(coalesce(given.timezone, a.timezone), '');
  a.on_failure := nullif(coalesce(given.on_failure, a.on_failure), '');
  a.job_options := nullif(coalesce(given.job_options, a.job_options), '{}');
  a.missed := coalesce(given.missed, a.missed);
  a.backfill_period := case
    when given.missed <> 'backfill' then given.backfill_period
    else coalesce(given.backfill_period, a.backfill_period) end;
  a.scheduled := coalesce(given.scheduled, a.scheduled);
  if given.scheduled then
    a.paused_because := null;
  end if;
  return a;
end
$$;
comment on function tidemill._with_changes is
  'The action with the changes that do not concern its slots, and with its time zone.';

create or replace function tidemill._with_grid(
  a tidemill._actions, before tidemill._actions, given tidemill._actions, noun text, at timestamptz
) returns tidemill._actions
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if num_nonnulls(given.schedule_interval, given.cron) > 0 then
    a.schedule_interval := given.schedule_interval;
    a.cron := given.cron;
    a.cron_fields := null;
    a.fixed_schedule := a.fixed_schedule or a.cron is not null;
  end if;
  a.fixed_schedule := coalesce(given.fixed_schedule, a.fixed_schedule);
  a.initial_start := coalesce(given.initial_start, a.initial_start);
  if not isfinite(a.initial_start) then
    a.initial_start := null;
  end if;
  if a.fixed_schedule and a.cron is null
    and (a.initial_start is null
      -- An earliest start that is still to come begins the grid.
      or not before.fixed_schedule and given.initial_start is null and a.initial_start <= at)
  then
    a.initial_start := at;
    raise notice using message = format('Using current time [%s] as initial start for %s %s', at, noun, a.id);
  end if;
  return a;
end
$$;
comment on function tidemill._with_grid is 'The action with the changes that determine its slots.';
