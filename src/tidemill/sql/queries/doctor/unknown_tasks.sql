-- Ready jobs of tasks that no live worker knows.
with unknown(ids) as materialized (
  select array_agg(t.id) from tidemill._tasks t
  where not exists (
    select from tidemill._workers w where w.expires_at > clock_timestamp() and t.identifier = any(w.identifiers))
),
waiting as (
  -- With a limit: there may be millions.
  select j.task_id, j.run_at from tidemill._jobs j
  where (select ids from unknown) is not null
    and j.task_id = any((select ids from unknown)::integer[])
    and j.locked_at is null and j.attempts < j.max_attempts and j.run_at <= now()
  limit 10001
)
select 'error' as severity,
  format('No worker that runs knows %s: %s, one since %s.', t.identifier,
    case
      when (select count(*) from waiting) > 10000 then 'at least ' || to_char(count(*), 'FM99,999') || ' jobs wait'
      when count(*) = 1 then 'a job waits'
      else to_char(count(*), 'FM99,999') || ' jobs wait' end,
    date_trunc('second', min(w.run_at))) as finding,
  format('Deploy a worker that has the task, or correct the name where jobs are added. To drop them: '
    'tidemill jobs remove --state ready --task %L', t.identifier) as remedy
from waiting w
join tidemill._tasks t on t.id = w.task_id
-- Without any worker there is another finding.
where exists (select from tidemill._workers w where w.expires_at > clock_timestamp())
group by t.identifier
order by min(w.run_at)
limit 20
