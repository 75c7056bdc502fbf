-- Tables and types of the queue.

create type tidemill.job_spec as (
  identifier text,
  payload json,
  queue_name text,
  run_at timestamptz,
  max_attempts smallint,
  job_key text,
  priority smallint,
  flags text[]
);
comment on type tidemill.job_spec is
  'One job for add_jobs: the arguments of add_job by the same names. NULL means the default.';

create type tidemill.job as (
  id bigint,
  identifier text,
  queue_name text,
  payload json,
  state text,
  priority smallint,
  run_at timestamptz,
  attempts smallint,
  max_attempts smallint,
  last_error text,
  created_at timestamptz,
  updated_at timestamptz,
  key text,
  locked_at timestamptz,
  locked_by text,
  revision integer,
  flags text[]
);
comment on type tidemill.job is
  'A job as the public functions return it; the columns mean what they mean in the view tidemill.jobs.';

create table tidemill._tasks (
  id integer generated always as identity primary key,
  identifier text not null unique,
  constraint tasks_identifier_check check (length(identifier) <= 128)
);
comment on table tidemill._tasks is 'Identifiers seen so far; jobs refer to them by number.';

create table tidemill._queues (
  id bigint generated always as identity primary key,
  queue_name text not null unique,
  locked_at timestamptz,
  locked_by text,
  claim_token bigint,
  constraint job_queues_queue_name_check check (length(queue_name) <= 128)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
comment on table tidemill._queues is
  'Named queues. A lease on a queue row is the right to run that queue''s jobs, one after the other.';
create index _queues_leased on tidemill._queues (locked_by) where locked_by is not null;

-- No foreign keys: add_job must never lock a task or queue row.
create table tidemill._jobs (
  id bigint generated always as identity primary key,
  queue_id bigint,
  task_id integer not null,
  priority smallint not null default 0,
  attempts smallint not null default 0,
  max_attempts smallint not null default 25,
  revision integer not null default 0,
  run_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  locked_at timestamptz,
  claim_token bigint,
  locked_by text,
  withdrawn text,
  key text,
  payload json not null default '{}',
  flags text[],
  last_error text,
  constraint jobs_key_check check (length(key) > 0 and length(key) <= 512),
  constraint jobs_max_attempts_check check (max_attempts >= 1),
  constraint jobs_withdrawn_check check (withdrawn in ('replaced', 'removed', 'cancelled'))
) with (
  -- A queue turns its whole table over in minutes: vacuum by count, not by share.
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0.2,
  autovacuum_analyze_scale_factor = 0.1,
  autovacuum_vacuum_cost_delay = 0
);
comment on table tidemill._jobs is 'Jobs that are not done. Private: read the view tidemill.jobs.';
comment on column tidemill._jobs.claim_token is
  'Number of the claim that holds the lease; completion and failure must name it.';
comment on column tidemill._jobs.withdrawn is
  'Why the running attempt is the last one whatever its outcome: replaced or removed by key, or cancelled.';

-- Only unleased jobs with attempts left stand in the indexes that claims walk.
create index _jobs_ready on tidemill._jobs (priority, run_at, id)
  where queue_id is null and locked_at is null and attempts < max_attempts;
create index _jobs_ready_queued on tidemill._jobs (queue_id, priority, run_at, id)
  where queue_id is not null and locked_at is null and attempts < max_attempts;
create unique index _jobs_key on tidemill._jobs (key) where key is not null;
create index _jobs_leased on tidemill._jobs (locked_by) where locked_by is not null;

create sequence tidemill._claim_tokens;
comment on sequence tidemill._claim_tokens is 'Numbers the claims, so that a late completion can be refused.';

create table tidemill._workers (
  id text primary key,
  hostname text not null,
  pid integer not null,
  version text not null,
  concurrency integer not null,
  identifiers text[] not null,
  started_at timestamptz not null default clock_timestamp(),
  heartbeat_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  in_hand integer not null default 0,
  stopping boolean not null default false
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table tidemill._workers is 'Live workers. Private: read the view tidemill.workers.';

-- Unlogged: after a crash no worker listens anyway, and each declares itself again.
create unlogged table tidemill._listeners (
  worker_id text primary key
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table tidemill._listeners is 'Workers that are idle now: add_job notifies only if there is one.';
