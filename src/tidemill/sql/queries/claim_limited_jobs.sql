select c.*, case when c.attempt operator(pg_catalog.>) 1 then tidemill._slot_of_job(c.id) end
from tidemill._claim_limited_jobs(
  worker_id => %(worker_id)s, identifiers => %(identifiers)s, max_jobs => %(most)s, forbidden_flags => %(forbidden)s,
  start_now => %(start_now)s, group_size => %(group_size)s, most_visits => %(visits)s) c
