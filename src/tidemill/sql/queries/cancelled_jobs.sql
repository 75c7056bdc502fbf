-- Running jobs of a worker that somebody has cancelled, with the reason.
select id, reason from tidemill._cancelled_jobs(%(worker_id)s)
