select c.*, case when c.attempt operator(pg_catalog.>) 1 then tidemill._slot_of_job(c.id) end
from tidemill._claim_queued_jobs(
  worker_id => %(worker_id)s, identifiers => %(identifiers)s, quick => %(quick)s, max_jobs => %(most)s,
  forbidden_flags => %(forbidden)s, after_queue => %(after)s, per_queue => %(per_queue)s,
  after_run_at => %(after_run_at)s, after_id => %(after_id)s, later_first => %(later_first)s,
  most_looks => %(looks)s,
  start_now => %(start_now)s, group_size => %(group_size)s) c
