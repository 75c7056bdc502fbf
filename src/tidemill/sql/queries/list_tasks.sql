-- Tasks that live workers know or that have jobs. Of a large table the first jobs are counted: `counted` says how many.
with some_jobs as materialized (
  select identifier, state, retrying, run_at from tidemill.jobs limit %(most)s
),
counts as (
  select j.identifier,
    pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'ready') as ready,
    pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'running') as running,
    pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'scheduled' and not j.retrying) as scheduled,
    pg_catalog.count(*) filter (where j.retrying and j.state operator(pg_catalog.=) 'scheduled') as retrying,
    pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'failed') as failed,
    pg_catalog.count(*) filter (where j.state operator(pg_catalog.=) 'cancelled') as cancelled,
    pg_catalog.min(greatest(j.run_at, '0001-01-02Z')) filter (where j.state operator(pg_catalog.=) 'ready') as oldest
  from some_jobs j
  group by j.identifier
),
known as (
  select t.identifier, pg_catalog.count(*) as workers
  from tidemill.workers w
  cross join lateral pg_catalog.unnest(w.tasks) as t (identifier)
  where w.state operator(pg_catalog.<>) 'lost'
  group by t.identifier
)
select coalesce(c.identifier, k.identifier) as task, coalesce(k.workers, 0) as workers, coalesce(c.ready, 0) as ready,
  coalesce(c.running, 0) as running, coalesce(c.scheduled, 0) as scheduled, coalesce(c.retrying, 0) as retrying,
  coalesce(c.failed, 0) as failed, coalesce(c.cancelled, 0) as cancelled,
  c.oldest as oldest_ready,
  (select pg_catalog.count(*) from some_jobs) as counted
from counts c
full join known k on k.identifier operator(pg_catalog.=) c.identifier
order by 1
