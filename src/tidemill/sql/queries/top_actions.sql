-- Actions: those that fail first, then those that Tidemill has paused, that run, and the next ones.
select a.id, coalesce(a.name, a.routine, 'task ' operator(pg_catalog.||) a.task) as name, s.state, a.paused_because,
  case when pg_catalog.isfinite(a.next_start)
    then least(greatest(a.next_start, '0001-01-02Z'), '9999-12-30Z') end as next_start,
  coalesce(a.next_start operator(pg_catalog.=) 'infinity', false) as never,
  s.running_since, s.last_finish, s.last_run_success,
  s.consecutive_failures operator(pg_catalog.+) s.consecutive_crashes as failures_in_a_row,
  pg_catalog.count(*) over () as actions,
  pg_catalog.count(*) filter (where s.state operator(pg_catalog.=) 'paused') over () as paused,
  pg_catalog.count(*) filter (
    where (s.consecutive_failures operator(pg_catalog.+) s.consecutive_crashes) operator(pg_catalog.>) 0) over () as failing
from tidemill.actions a
join tidemill.action_stats s on s.action_id operator(pg_catalog.=) a.id
order by
  (s.consecutive_failures operator(pg_catalog.+) s.consecutive_crashes) operator(pg_catalog.=) 0,
  a.paused_because is null,
  s.state operator(pg_catalog.<>) 'running',
  s.state operator(pg_catalog.=) 'paused',
  a.next_start nulls first, a.id
limit 100
