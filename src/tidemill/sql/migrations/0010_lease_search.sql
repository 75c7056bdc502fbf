-- A lease lane whose tasks are all quick searches here: in _jobs_ready it would walk over every job of the express lane.
create index _jobs_tried on tidemill._jobs (priority, run_at, id)
  where queue_id is null and locked_at is null and attempts < max_attempts and (key is not null or attempts > 0);
