-- Running jobs of a worker that somebody has cancelled, with the reason. A row without an id: the worker shall stop.
select id, reason from tidemill._cancelled_jobs(%(worker_id)s)
union all
select null::bigint, w.stop_asked from tidemill._workers w
where w.id operator(pg_catalog.=) %(worker_id)s::pg_catalog.text and w.stop_asked is not null
