-- Named queues that have jobs. Of a large table the first jobs are counted: `counted` says how many.
with some_jobs as materialized (
  select queue_name, state, retrying, run_at, locked_by from tidemill.jobs where queue_name is not null limit %(most)s
)
select j.queue_name as queue,
  pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'ready') as ready,
  pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'running') as running,
  pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'scheduled' and not j.retrying) as scheduled,
  pg_catalog.count(*) filter (where j.retrying and j.state operator(pg_catalog.=) 'scheduled') as retrying,
  pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'failed') as failed,
  pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'cancelled') as cancelled,
  pg_catalog.min(greatest(j.run_at, '0001-01-02Z')) filter (where j.state operator(pg_catalog.=) 'ready') as oldest_ready,
  pg_catalog.max(j.locked_by) as worker,
  (select pg_catalog.count(*) from some_jobs) as counted
from some_jobs j
group by j.queue_name
order by pg_catalog.count(*) desc, j.queue_name
limit %(limit)s
