-- What became of the attempts of each task lately, times in seconds; `minutes` are the last ones, one by one.
select s.identifier as task,
  pg_catalog.sum(s.done)::bigint as done,
  pg_catalog.sum(s.retried)::bigint as retried,
  pg_catalog.sum(s.failed operator(pg_catalog.-) s.retried)::bigint as failed,
  pg_catalog.sum(s.cancelled)::bigint as cancelled,
  extract(epoch from pg_catalog.sum(s.run_time))::double precision as run_time,
  extract(epoch from pg_catalog.max(s.longest_run))::double precision as longest,
  extract(epoch from tidemill.histogram_quantile(tidemill.histogram_sum(s.run_histogram), 0.5))::double precision as run_p50,
  extract(epoch from tidemill.histogram_quantile(tidemill.histogram_sum(s.run_histogram), 0.99))::double precision as run_p99,
  extract(epoch from tidemill.histogram_quantile(tidemill.histogram_sum(s.wait_histogram), 0.5))::double precision as wait_p50,
  extract(epoch from tidemill.histogram_quantile(tidemill.histogram_sum(s.wait_histogram), 0.99))::double precision as wait_p99,
  pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
    extract(epoch from s.bucket)::bigint, s.done, s.retried, s.failed operator(pg_catalog.-) s.retried))
    filter (where s.bucket operator(pg_catalog.>=)
      (pg_catalog.date_trunc('minute', pg_catalog.now()) operator(pg_catalog.-) '2 minutes'::interval)) as minutes
from tidemill.task_stats s
where s.bucket operator(pg_catalog.>=)
    (pg_catalog.date_trunc('minute', pg_catalog.now()) operator(pg_catalog.-) %(window)s::interval)
  and s.width operator(pg_catalog.=) '1 minute'
group by s.identifier
