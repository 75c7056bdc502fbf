-- The statement's snapshot lacks the action that the call adds. An action in it existed before.
select a.id, not exists (select from tidemill.actions o where o.id operator(pg_catalog.=) a.id) as added
from (
  select tidemill.add_action(
    -- With its arguments, as in 'purge(integer, jsonb)', or by its name alone.
    proc => case when pg_catalog.strpos(%(routine)s::pg_catalog.text, '(') operator(pg_catalog.>) 0
      then %(routine)s::pg_catalog.text::pg_catalog.regprocedure::pg_catalog.oid::pg_catalog.regproc
      else %(routine)s::pg_catalog.text::pg_catalog.regproc end,
    task => %(task)s,
    schedule_interval => %(every)s::interval,
    schedule => %(cron)s,
    fixed_schedule => %(fixed)s,
    timezone => %(timezone)s,
    config => %(config)s::pg_catalog.text::pg_catalog.jsonb,
    check_config => case when pg_catalog.strpos(%(check)s::pg_catalog.text, '(') operator(pg_catalog.>) 0
      then %(check)s::pg_catalog.text::pg_catalog.regprocedure::pg_catalog.oid::pg_catalog.regproc
      else %(check)s::pg_catalog.text::pg_catalog.regproc end,
    name => %(name)s,
    -- Without an offset: on the clocks of the action's time zone.
    initial_start => coalesce(
      %(initial_start)s::pg_catalog.text::pg_catalog.timestamptz,
      %(initial_start_clock)s::pg_catalog.text::timestamp at time zone zone.name),
    max_runtime => %(max_runtime)s::interval,
    max_retries => %(max_retries)s,
    retry_period => %(retry_period)s::interval,
    missed => %(missed)s,
    backfill_period => %(backfill_period)s::interval,
    on_failure => %(on_failure)s,
    job_options => %(job_options)s::pg_catalog.text::pg_catalog.jsonb,
    scheduled => %(scheduled)s,
    if_not_exists => %(if_not_exists)s) as id
  from (
    select coalesce(%(timezone)s::pg_catalog.text, 'UTC') as name from tidemill._check_timezone(%(timezone)s)
  ) as zone
  offset 0
) a
