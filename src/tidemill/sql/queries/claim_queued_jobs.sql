select * from tidemill._claim_queued_jobs(
  worker_id => %(worker_id)s, identifiers => %(identifiers)s, quick => %(quick)s, max_jobs => %(most)s,
  forbidden_flags => %(forbidden)s, after_queue => %(after)s, per_queue => %(per_queue)s)
