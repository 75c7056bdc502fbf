-- The owner comes last: the other changes are made with the rights that the caller has now.
select a.action_id,
  case when %(owner)s::pg_catalog.text is not null
    then tidemill.set_action_owner(
      a.action_id, pg_catalog.quote_ident(%(owner)s::pg_catalog.text)::pg_catalog.regrole)::pg_catalog.text end
from pg_catalog.unnest(%(ids)s::integer[]) as given (id)
  left join tidemill.actions was on was.id operator(pg_catalog.=) given.id
  cross join lateral (values (coalesce(%(timezone)s::pg_catalog.text, was.timezone, ''))) as clocks (zone),
  lateral (
    select case when clocks.zone operator(pg_catalog.=) '' then 'UTC' else clocks.zone end as name
    from tidemill._check_timezone(
      case when %(timezone)s::pg_catalog.text operator(pg_catalog.<>) '' then %(timezone)s::pg_catalog.text end)
  ) as zone,
  lateral tidemill.alter_action(
    given.id,
    schedule_interval => %(every)s::interval,
    schedule => %(cron)s,
    fixed_schedule => %(fixed)s,
    timezone => %(timezone)s,
    config => %(config)s::pg_catalog.text::pg_catalog.jsonb,
    config_merge => %(config_merge)s::pg_catalog.text::pg_catalog.jsonb,
    -- A dash stands for OID 0, which removes the check.
    check_config => case when %(no_check)s then '-'::pg_catalog.regproc
      when pg_catalog.strpos(%(check)s::pg_catalog.text, '(') operator(pg_catalog.>) 0
        then %(check)s::pg_catalog.text::pg_catalog.regprocedure::pg_catalog.oid::pg_catalog.regproc
      else %(check)s::pg_catalog.text::pg_catalog.regproc end,
    name => %(name)s,
    -- Without an offset: on the clocks of the action's time zone.
    initial_start => coalesce(
      %(initial_start)s::pg_catalog.text::pg_catalog.timestamptz,
      %(initial_start_clock)s::pg_catalog.text::timestamp at time zone zone.name),
    next_start => coalesce(
      %(next_start)s::pg_catalog.text::pg_catalog.timestamptz,
      %(next_start_clock)s::pg_catalog.text::timestamp at time zone zone.name),
    max_runtime => %(max_runtime)s::interval,
    max_retries => %(max_retries)s,
    retry_period => %(retry_period)s::interval,
    missed => %(missed)s,
    backfill_period => %(backfill_period)s::interval,
    on_failure => %(on_failure)s,
    job_options => %(job_options)s::pg_catalog.text::pg_catalog.jsonb) as a
