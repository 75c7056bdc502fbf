select c.*, case when c.attempt operator(pg_catalog.>) 1 then tidemill._slot_of_job(c.id) end
from tidemill._claim_jobs(
  worker_id => %(worker_id)s, identifiers => %(identifiers)s, quick => %(quick)s, max_jobs => %(most)s,
  forbidden_flags => %(forbidden)s, mark_priorities => %(priorities)s::smallint[],
  mark_run_ats => %(run_ats)s::pg_catalog.timestamptz[], mark_ids => %(ids)s::bigint[],
  after_priority => %(after_priority)s, most_levels => %(levels)s,
  start_now => %(start_now)s, group_size => %(group_size)s) c
