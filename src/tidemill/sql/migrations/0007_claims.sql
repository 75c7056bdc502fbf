-- A claim counts the bytes of payloads only where the table's TOAST relation is large. So payloads of more than 2 kB
-- have to stand there, as they are: compressed ones might be any size.

alter table tidemill._jobs alter column payload set storage external;
update tidemill._jobs set payload = payload::text::json where pg_column_compression(payload) is not null;

-- A claim must not meet the queues of jobs that are only due later: there may be one for each customer. A job that was
-- due when it was added (run_at <= created_at) stands in one index, so that each queue in it has a due job; all others,
-- which were added for later or tried already, stand in three: by the time when they are due, and of each queue by
-- priority and by that time.

create index _jobs_due_queued on tidemill._jobs (queue_id, priority, run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at <= created_at;
create index _jobs_later_queued on tidemill._jobs (queue_id, priority, run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at > created_at;
create index _jobs_later on tidemill._jobs (run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at > created_at;
create index _jobs_later_of_queue on tidemill._jobs (queue_id, run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts and run_at > created_at;
drop index if exists tidemill._jobs_ready_queued;

-- These get more arguments, with defaults for workers that do not know them.

drop function if exists tidemill._lock_jobs(
  text[], text[], boolean, integer, text[], smallint[], timestamptz[], bigint[]);
drop function if exists tidemill._lock_queued_jobs(text[], text[], boolean, integer, text[], bigint, integer);
drop function if exists tidemill._claim_jobs(
  text, text[], text[], integer, text[], smallint[], timestamptz[], bigint[]);
drop function if exists tidemill._claim_queued_jobs(text, text[], text[], integer, text[], bigint, integer);
