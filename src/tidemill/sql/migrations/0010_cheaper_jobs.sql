-- The functions check what comes from users, and tell it better; PostgreSQL compiles constraints for each statement.
-- First the strongest lock: a try that does not get it has built no index.
alter table tidemill._jobs
  drop constraint jobs_key_check, drop constraint jobs_max_attempts_check, drop constraint jobs_withdrawn_check;

-- A lease lane whose tasks are all quick searches here: in _jobs_ready it would walk over the express lane's jobs.
create index _jobs_tried on tidemill._jobs (priority, run_at, id)
  where queue_id is null and locked_at is null and attempts < max_attempts and (key is not null or attempts > 0);
