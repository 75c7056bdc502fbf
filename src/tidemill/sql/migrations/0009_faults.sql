-- What is claimed ahead has not started: of a lost worker's jobs, only those that may have started spend an attempt.

create table tidemill._unstarted (
  claim_token bigint primary key,
  worker_id text not null,
  is_taken boolean not null default false
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
comment on table tidemill._unstarted is
  'Claims whose jobs wait in their worker''s hand, and have not started. The worker takes a row away before it starts the jobs with that claim token.';
comment on column tidemill._unstarted.is_taken is 'A sweep has taken the lease away: they must not start.';

drop function if exists tidemill._claim_jobs(
  text, text[], text[], integer, text[], smallint[], timestamptz[], bigint[], integer, integer);
drop function if exists tidemill._claim_queued_jobs(
  text, text[], text[], integer, text[], bigint, integer, timestamptz, bigint, boolean, integer);

-- Clocks step, and a database that was away makes all leases seem over: so a worker is suspected before it counts as lost.
alter table tidemill._workers add column suspected_at timestamptz;
alter table tidemill._workers add column is_freed boolean not null default false;
comment on column tidemill._workers.is_freed is 'It is lost, and nothing of what it held is left.';
comment on column tidemill._workers.suspected_at is 'Since when its heartbeats have been missing; the next one clears it. -infinity: it is lost, and must register again.';

-- Retries move run_at.
alter table tidemill._jobs add column slot timestamptz;
comment on column tidemill._jobs.slot is 'The run_at before a retry moved it; NULL: run_at was not moved.';

-- It has one more parameter.
drop function if exists tidemill._fail_jobs(
  text, bigint[], bigint[], text[], interval[], boolean[], text[], boolean[]);
-- A next start that a clock which was ahead has set.
alter table tidemill._action_states add column decided_at timestamptz;
comment on column tidemill._action_states.decided_at is
  'The time from which next_start was computed; NULL: it was asked for, or by an older version. Later than now: the clock was put back.';
create index _action_states_decided on tidemill._action_states (decided_at);

drop function if exists tidemill._sweep_leases();
drop function if exists tidemill._release_leases(text[], boolean, text);
drop function if exists tidemill._heartbeat(text, interval, integer, boolean);
