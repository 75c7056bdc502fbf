-- Workers, those that are lost or stopping first, and what they know together.
select w.id, w.hostname as host, w.pid, w.version, w.state, w.in_hand, w.concurrency, w.started_at, w.heartbeat_at,
  w.stop_asked, w.tasks
from tidemill.workers w
order by w.state operator(pg_catalog.=) 'running', w.hostname, w.started_at, w.id
