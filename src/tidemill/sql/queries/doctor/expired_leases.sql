-- Leases that have ended, and that no worker's sweep has freed.
with recursive holders(id) as (
  (select min(j.locked_by) from tidemill._jobs j where j.locked_by is not null)
  union all
  select (select min(j.locked_by) from tidemill._jobs j where j.locked_by > h.id) from holders h where h.id is not null
),
gone as (
  select h.id,
    (select count(*) from (select from tidemill._jobs j where j.locked_by = h.id limit 1001) c) as jobs,
    (select min(c.locked_at) from (select j.locked_at from tidemill._jobs j where j.locked_by = h.id limit 1001) c) as since
  from holders h
  where h.id is not null
    and not exists (select from tidemill._workers w where w.id = h.id and w.expires_at > clock_timestamp() - interval '2 minutes')
  union all
  select q.locked_by, 0, min(q.locked_at)
  from tidemill._queues q
  where q.locked_by is not null
    and not exists (select from tidemill._jobs j where j.locked_by = q.locked_by)
    and not exists (
      select from tidemill._workers w where w.id = q.locked_by and w.expires_at > clock_timestamp() - interval '2 minutes')
  group by q.locked_by
)
select 'error' as severity,
  format('%s held by the worker %s, which is gone, since %s.',
    case when g.jobs = 0 then 'A named queue is' when g.jobs > 1000 then 'Over 1,000 jobs are'
      when g.jobs = 1 then 'A job is' else g.jobs || ' jobs are' end,
    g.id, date_trunc('second', g.since)) as finding,
  format('Workers free them: start one. If some are running, by hand: select tidemill.force_unlock_workers(array[%L])', g.id)
    as remedy
from gone g
where g.since < clock_timestamp() - interval '3 minutes'
order by g.since
limit 20
