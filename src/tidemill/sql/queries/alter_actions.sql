-- The owner comes last: the other changes are made with the rights that the caller has now.
select a.action_id,
  case when %(owner)s::text is not null
    then tidemill.set_action_owner(a.action_id, quote_ident(%(owner)s::text)::regrole)::text end
from unnest(%(ids)s::integer[]) as given (id),
  lateral tidemill.alter_action(
    given.id,
    schedule_interval => %(every)s::interval,
    schedule => %(cron)s,
    fixed_schedule => %(fixed)s,
    timezone => %(timezone)s,
    config => %(config)s::text::jsonb,
    config_merge => %(config_merge)s::text::jsonb,
    -- A dash stands for OID 0, which removes the check.
    check_config => case when %(no_check)s then '-'::regproc
      when strpos(%(check)s::text, '(') > 0 then %(check)s::text::regprocedure::oid::regproc
      else %(check)s::text::regproc end,
    name => %(name)s,
    initial_start => %(initial_start)s::text::timestamptz,
    next_start => %(next_start)s::text::timestamptz,
    max_runtime => %(max_runtime)s::interval,
    max_retries => %(max_retries)s,
    retry_period => %(retry_period)s::interval,
    missed => %(missed)s,
    backfill_period => %(backfill_period)s::interval,
    on_failure => %(on_failure)s,
    job_options => %(job_options)s::text::jsonb) as a
