-- breaking: an older worker would keep no history of jobs that are to be kept.
-- History: jobs that are done, and attempts that ended otherwise. Each keep has partitions of its own.

alter table tidemill._jobs add column keep smallint, add column trace text;
comment on column tidemill._jobs.keep is
  'How long its history is kept, by number: see _keep_of; 0: not at all. NULL: as its task and worker have it.';
comment on column tidemill._jobs.trace is 'The trace context of whoever added it (W3C traceparent).';

alter table tidemill._tasks add column keep smallint, add column keeps_payload boolean not null default true;
comment on column tidemill._tasks.keep is 'How long its jobs'' history is kept, as the last worker that started has it.';

create table tidemill._history_workers (
  id integer generated always as identity primary key,
  worker_id text not null unique,
  hostname text,
  version text,
  last_seen timestamptz not null default now()
);
comment on table tidemill._history_workers is 'Workers that history names by number.';

create table tidemill._history_keeps (
  keep smallint primary key
);
comment on table tidemill._history_keeps is 'The keeps that have partitions, since they are in use.';

create table tidemill._done_jobs (
  id bigint not null,
  created_at timestamptz not null,
  run_at timestamptz not null,
  started_at timestamptz not null,
  finished_at timestamptz not null,
  worker integer,
  keep smallint not null,
  attempt smallint not null,
  max_attempts smallint not null,
  priority smallint not null,
  identifier text not null,
  queue_name text,
  key text,
  payload json,
  result json
) partition by list (keep);
comment on table tidemill._done_jobs is 'Jobs that ended well. Private: read the view tidemill.job_history.';
create index on tidemill._done_jobs (finished_at, id);
create index on tidemill._done_jobs (identifier, finished_at, id);
create index on tidemill._done_jobs (id);

-- In a table of their own a search for the text of an error reads few pages.
create table tidemill._ended_attempts (
  id bigint not null,
  created_at timestamptz not null,
  run_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz not null,
  worker integer,
  keep smallint not null,
  attempt smallint not null,
  max_attempts smallint not null,
  priority smallint not null,
  outcome text not null,
  identifier text not null,
  queue_name text,
  key text,
  payload json,
  error text,
  error_type text,
  error_frame text,
  error_fingerprint text,
  traceback text
) partition by list (keep);
comment on table tidemill._ended_attempts is
  'Attempts that ended otherwise, and jobs that were removed. Private: read the view tidemill.job_history.';
comment on column tidemill._ended_attempts.started_at is 'NULL: no attempt ran when it ended.';
create index on tidemill._ended_attempts (finished_at, id);
create index on tidemill._ended_attempts (identifier, finished_at, id);
create index on tidemill._ended_attempts (outcome, finished_at, id);
create index on tidemill._ended_attempts (error_fingerprint, finished_at, id);
create index on tidemill._ended_attempts (id);

create type tidemill._ended_attempt as (
  id bigint,
  outcome text,
  worker_id text,
  keep smallint,
  attempt smallint,
  run_at timestamptz,
  duration double precision,
  age double precision,
  error text,
  error_type text,
  error_frame text,
  traceback text
);
comment on type tidemill._ended_attempt is
  'An attempt that ended otherwise than well: retried, failed or cancelled; with the seconds that it took and since its end, and its exception.';

-- Unlogged: after a crash of the server whoever waits asks once a second.
create unlogged table tidemill._waiters (
  job_id bigint,
  channel text,
  since timestamptz not null default now(),
  primary key (job_id, channel)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
comment on table tidemill._waiters is 'Who waits for the end of which job, and is told of it on which channel.';

-- Claims hand over more of a job.
drop type tidemill._found_job cascade;
drop type tidemill._claimed_job cascade;
create type tidemill._found_job as (
  id bigint,
  identifier text,
  payload text,
  priority smallint,
  run_at timestamptz,
  attempt smallint,
  max_attempts smallint,
  created_at timestamptz,
  key text,
  revision integer,
  flags text[],
  keep smallint,
  trace text
);
comment on type tidemill._found_job is
  'A job that was found and locked. A search ends with a row without id, whose run_at is the time up to which was looked.';
create type tidemill._claimed_job as (
  id bigint,
  identifier text,
  payload text,
  priority smallint,
  run_at timestamptz,
  attempt smallint,
  max_attempts smallint,
  created_at timestamptz,
  key text,
  revision integer,
  flags text[],
  keep smallint,
  trace text,
  queue_id bigint,
  queue_name text,
  claim_token bigint
);
comment on type tidemill._claimed_job is 'A job in a worker''s hand; the last row of a claim is as that of _found_job.';

drop function if exists tidemill._fail_jobs(
  text, bigint[], bigint[], text[], interval[], boolean[], text[], boolean[], boolean[]);
