-- Times are cut to the years that Python knows. With postgres_verbose an interval begins with an @.
select a.id, a.name, a.state, a.paused_because, coalesce(a.routine, 'task ' operator(pg_catalog.||) a.task) as runs,
  case when a.schedule_interval is null then a.schedule
    else 'every ' operator(pg_catalog.||) pg_catalog.ltrim(a.schedule_interval::pg_catalog.text, '@ ')
      operator(pg_catalog.||) case when a.fixed_schedule then '' else ' after each run' end end as schedule,
  a.timezone,
  case when pg_catalog.isfinite(a.next_start)
    then least(greatest(a.next_start, '0001-01-02Z'), '9999-12-30Z') end as next_start,
  case when a.next_start operator(pg_catalog.=) 'infinity' then 'infinity' end as next_word,
  s.last_start, last.outcome as last_outcome, a.routine, a.task, a.scheduled, a.fixed_schedule,
  pg_catalog.ltrim(a.schedule_interval::pg_catalog.text, '@ ') as schedule_interval,
  least(greatest(a.initial_start, '0001-01-02Z'), '9999-12-30Z') as initial_start,
  a.config::pg_catalog.text as config, a.check_config, a.job_options::pg_catalog.text as job_options, a.missed,
  pg_catalog.ltrim(a.backfill_period::pg_catalog.text, '@ ') as backfill_period,
  pg_catalog.ltrim(a.max_runtime::pg_catalog.text, '@ ') as max_runtime,
  a.max_retries, pg_catalog.ltrim(a.retry_period::pg_catalog.text, '@ ') as retry_period, a.on_failure, a.declared,
  a.owner::pg_catalog.text as owner, a.created_at, s.running_since, s.last_successful_finish, s.total_runs,
  s.total_successes, s.total_failures, s.total_crashes, s.consecutive_failures, s.consecutive_crashes
from tidemill.actions a
join tidemill.action_stats s on s.action_id operator(pg_catalog.=) a.id
left join lateral (
  select h.outcome from tidemill.action_history h
  where h.action_id operator(pg_catalog.=) a.id and h.outcome is not null
  order by h.id desc limit 1) last on true
where (%(ids)s::integer[] is null or a.id operator(pg_catalog.=) any(%(ids)s))
  and (%(state)s::pg_catalog.text is null or a.state operator(pg_catalog.=) %(state)s)
  and (%(name)s::pg_catalog.text is null or a.name operator(pg_catalog.=) %(name)s)
order by a.id
limit %(limit)s
