-- A claim must not meet the queues of jobs that are only due later: there may be one for each customer. A job that was
-- due when it was added (run_at <= created_at) stands in one index, so that each queue in it has a due job; all others,
-- which were added for later or tried already, stand in two: by queue, and by the time when they are due.

create index _jobs_due_queued on tidemill._jobs (queue_id, priority, run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at <= created_at;
create index _jobs_later_queued on tidemill._jobs (queue_id, priority, run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at > created_at;
create index _jobs_later on tidemill._jobs (run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at > created_at;
drop index if exists tidemill._jobs_ready_queued;

-- These get more arguments, with defaults for workers that do not know them.

drop function if exists tidemill._lock_jobs(
  text[], text[], boolean, integer, text[], smallint[], timestamptz[], bigint[]);
drop function if exists tidemill._lock_queued_jobs(text[], text[], boolean, integer, text[], bigint, integer);
drop function if exists tidemill._claim_jobs(
  text, text[], text[], integer, text[], smallint[], timestamptz[], bigint[]);
drop function if exists tidemill._claim_queued_jobs(text, text[], text[], integer, text[], bigint, integer);
