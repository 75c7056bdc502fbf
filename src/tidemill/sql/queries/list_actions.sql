-- Times are cut to the years that Python knows. With postgres_verbose an interval begins with an @.
select a.id, a.name, a.state, a.paused_because, coalesce(a.routine, 'task ' || a.task) as runs,
  case when a.schedule_interval is null then a.schedule
    else 'every ' || ltrim(a.schedule_interval::text, '@ ')
      || case when a.fixed_schedule then '' else ' after each run' end end as schedule,
  a.timezone,
  case when isfinite(a.next_start) then least(greatest(a.next_start, '0001-01-02Z'), '9999-12-30Z') end as next_start,
  case when a.next_start = 'infinity' then 'infinity' end as next_word,
  s.last_start, last.outcome as last_outcome, a.routine, a.task, a.scheduled, a.fixed_schedule,
  ltrim(a.schedule_interval::text, '@ ') as schedule_interval,
  least(greatest(a.initial_start, '0001-01-02Z'), '9999-12-30Z') as initial_start,
  a.config::text as config, a.check_config, a.job_options::text as job_options, a.missed,
  ltrim(a.backfill_period::text, '@ ') as backfill_period, ltrim(a.max_runtime::text, '@ ') as max_runtime,
  a.max_retries, ltrim(a.retry_period::text, '@ ') as retry_period, a.on_failure, a.declared,
  a.owner::text as owner, a.created_at, s.running_since, s.last_successful_finish, s.total_runs,
  s.total_successes, s.total_failures, s.total_crashes, s.consecutive_failures, s.consecutive_crashes
from tidemill.actions a
join tidemill.action_stats s on s.action_id = a.id
left join lateral (
  select h.outcome from tidemill.action_history h
  where h.action_id = a.id and h.outcome is not null
  order by h.id desc limit 1) last on true
where (%(ids)s::integer[] is null or a.id = any(%(ids)s))
  and (%(state)s::text is null or a.state = %(state)s)
  and (%(name)s::text is null or a.name = %(name)s)
order by a.id
limit %(limit)s
