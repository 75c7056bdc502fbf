-- The last progress of an attempt stays in its history. Workers of before go on: they tell of none.

alter table tidemill._done_jobs add column progress real, add column progress_message text;
alter table tidemill._ended_attempts add column progress real, add column progress_message text;
comment on column tidemill._done_jobs.progress is 'How far the attempt was, by its last word.';
comment on column tidemill._ended_attempts.progress is 'How far the attempt was, by its last word.';

-- It was when a worker kept its first job.
update tidemill._history_workers set last_seen = now();
comment on column tidemill._history_workers.last_seen is
  'When it was alive, to an hour or two. What it kept last is there for a year after that, or for ever.';

-- They have two more parameters, which workers of before leave out.
drop function if exists tidemill._complete_kept_jobs(
  text, bigint[], bigint[], smallint[], boolean[], float8[], float8[], text[]);
drop function if exists tidemill._settle_kept_batch(
  text, bigint[], smallint[], boolean[], float8[], float8[], text[]);
drop function if exists tidemill._keep_ended(tidemill._ended_attempt[]);
drop function if exists tidemill._fail_jobs(
  text, bigint[], bigint[], text[], interval[], boolean[], text[], boolean[], boolean[], tidemill._ended_attempt[]);
