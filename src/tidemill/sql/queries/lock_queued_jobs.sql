select * from tidemill._lock_queued_jobs(
  express => true, identifiers => %(identifiers)s, quick => %(quick)s, max_jobs => %(most)s,
  forbidden_flags => %(forbidden)s, after_queue => %(after)s, per_queue => %(per_queue)s)
