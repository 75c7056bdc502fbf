-- Workers whose process or connection is gone.
select 'warning' as severity,
  format('The worker %s (process %s on %s) was lost: its last heartbeat came at %s.', w.id, w.pid, w.hostname,
    date_trunc('second', w.heartbeat_at)) as finding,
  'Others get its jobs. Look why it ended: its log, the supervisor, the kernel''s log for a lack of memory' as remedy
from tidemill.workers w
where w.state = 'lost'
order by w.heartbeat_at
limit 20
