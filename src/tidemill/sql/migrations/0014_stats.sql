-- What workers count, and what they tell of their tasks and of running jobs.

-- Every worker adds to the same few rows: room on the page for it, and vacuum by count.
create table tidemill._task_minutes (
  minute timestamptz not null,
  identifier text not null,
  done bigint not null,
  failed bigint not null,
  retried bigint not null,
  cancelled bigint not null,
  run_time interval not null,
  longest_run interval not null,
  wait_time interval not null,
  runs bigint[] not null,
  waits bigint[] not null,
  primary key (minute, identifier)
) with (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 10000
);
comment on table tidemill._task_minutes is
  'Attempts that have ended, counted by task and minute. Private: read the view tidemill.task_stats.';

create table tidemill._task_hours (like tidemill._task_minutes including all);
alter table tidemill._task_hours rename column minute to hour;
alter table tidemill._task_hours set (fillfactor = 90);
comment on table tidemill._task_hours is
  'Minutes that are two days old, by hour. Private: read the view tidemill.task_stats.';

create table tidemill._task_specs (
  identifier text primary key,
  payload_schema jsonb,
  options jsonb not null,
  summary text,
  changed_at timestamptz not null default now(),
  seen_at timestamptz not null default now()
);
comment on table tidemill._task_specs is
  'What workers tell of their tasks. Private: read the view tidemill.tasks.';
comment on column tidemill._task_specs.seen_at is 'When a live worker knew it, to about an hour.';

-- Logged, since the view tidemill.jobs reads it, and a standby has no unlogged tables. Written without waiting for the disk.
create table tidemill._progress (
  job_id bigint primary key,
  claim_token bigint not null,
  fraction real,
  message text,
  told_at timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
comment on table tidemill._progress is
  'How far running jobs say they are. A row counts while the job has this claim token.';
