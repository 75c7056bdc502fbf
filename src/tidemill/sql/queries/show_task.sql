-- One task: what its code says, and what became of its attempts lately, as far as workers have counted it.
select t.identifier as task, t.summary, t.workers, t.last_seen, t.options::pg_catalog.text as options,
  t.payload_schema::pg_catalog.text as payload_schema,
  (select pg_catalog.to_json(p.*)::pg_catalog.text
   from (select p.paused_at, p.paused_by, p.reason from tidemill.pauses p
         where p.kind operator(pg_catalog.=) 'task' and p.name operator(pg_catalog.=) t.identifier) p) as paused,
  c.*
from tidemill.tasks t
cross join lateral (
  select
    coalesce(pg_catalog.sum(s.done) filter (where s.bucket operator(pg_catalog.>)
      (pg_catalog.now() operator(pg_catalog.-) interval '1 hour')), 0)::bigint as done_in_an_hour,
    coalesce(pg_catalog.sum(s.failed) filter (where s.bucket operator(pg_catalog.>)
      (pg_catalog.now() operator(pg_catalog.-) interval '1 hour')), 0)::bigint as failed_in_an_hour,
    coalesce(pg_catalog.sum(s.done), 0)::bigint as done_in_a_day,
    coalesce(pg_catalog.sum(s.failed), 0)::bigint as failed_in_a_day,
    extract(epoch from pg_catalog.max(s.longest_run))::double precision as longest_run_in_a_day
  from tidemill.task_stats s
  where s.identifier operator(pg_catalog.=) t.identifier
    and s.bucket operator(pg_catalog.>) (pg_catalog.now() operator(pg_catalog.-) interval '1 day')
) c
where t.identifier operator(pg_catalog.=) %(task)s
