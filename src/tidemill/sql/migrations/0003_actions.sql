-- Scheduled actions: what runs when, where each of them stands, and what happened.

create type tidemill._cron_fields as (
  seconds smallint[],
  minutes smallint[],
  hours smallint[],
  days smallint[],
  last_day boolean,
  last_weekday boolean,
  months smallint[],
  weekdays smallint[],
  nth_weekdays smallint[],
  both_days boolean,
  by_wall_clock boolean
);
comment on type tidemill._cron_fields is
  'A cron line, read: see tidemill._read_cron. nth_weekdays holds weekday * 10 + n, n = 9 for the last.';

-- Ids below 1000 are those of built-in actions.
create sequence tidemill._action_ids as integer minvalue 1000;

create table tidemill._actions (
  id integer primary key default nextval('tidemill._action_ids'),
  name text,
  proc_schema name,
  proc_name name,
  proc_oid oid,
  task text,
  job_options jsonb,
  owner regrole not null,
  config jsonb,
  check_schema name,
  check_name name,
  schedule_interval interval,
  cron text,
  cron_fields tidemill._cron_fields,
  fixed_schedule boolean not null default true,
  initial_start timestamptz,
  timezone text,
  missed text not null default 'run_once',
  backfill_period interval,
  scheduled boolean not null default true,
  paused_because text,
  max_runtime interval not null default '0',
  max_retries integer not null default -1,
  retry_period interval not null default '5 minutes',
  on_failure text,
  declared boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  constraint actions_routine_or_task check ((proc_name is null) <> (task is null)),
  constraint actions_interval_or_cron check ((schedule_interval is null) <> (cron is null)),
  constraint actions_missed_check check (missed in ('run_once', 'skip', 'backfill'))
);
comment on table tidemill._actions is 'Actions, as they were defined. Private: read the view tidemill.actions.';
comment on column tidemill._actions.proc_oid is
  'The routine when it was last found: by it a renamed one is found again. Its name comes first.';
comment on column tidemill._actions.paused_because is 'Why Tidemill itself set scheduled to false.';
comment on column tidemill._actions.declared is 'By a task''s decorator: workers keep it as the code has it.';
create index _actions_name on tidemill._actions (name);

create table tidemill._action_states (
  action_id integer primary key references tidemill._actions on delete cascade,
  next_start timestamptz not null default '-infinity',
  slot timestamptz,
  run_id bigint,
  last_start timestamptz,
  last_finish timestamptz,
  last_successful_finish timestamptz,
  last_run_success boolean,
  total_runs bigint not null default 0,
  total_duration interval not null default '0',
  total_duration_failures interval not null default '0',
  total_successes bigint not null default 0,
  total_failures bigint not null default 0,
  total_crashes bigint not null default 0,
  consecutive_failures integer not null default 0,
  consecutive_crashes integer not null default 0
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table tidemill._action_states is 'Where each action stands. Private: read the view tidemill.action_stats.';
comment on column tidemill._action_states.next_start is
  '-infinity: at once or, during a run, not known yet. What is set during a run is kept at its end.';
comment on column tidemill._action_states.slot is
  'The scheduled time that the last scheduled run was for; later slots come after it whatever the clock does.';
comment on column tidemill._action_states.run_id is 'The run that goes on; no other one starts meanwhile.';
create index _action_states_due on tidemill._action_states (next_start) where run_id is null;
create index _action_states_running on tidemill._action_states (run_id) where run_id is not null;

create table tidemill._action_runs (
  id bigint generated always as identity primary key,
  action_id integer not null,
  application_name text not null,
  owner regrole not null,
  proc_schema name,
  proc_name name,
  task text,
  by_hand boolean not null default false,
  slot timestamptz,
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  outcome text,
  worker_id text,
  pid integer,
  backend_start timestamptz,
  job_id bigint,
  stop_asked text,
  config jsonb,
  definition jsonb,
  sqlstate text,
  message text,
  detail text,
  hint text,
  context text,
  output text,
  constraint runs_outcome_check check (outcome in (
    'success', 'failure', 'timeout', 'stopped', 'skipped',
    'backend_terminated', 'worker_lost', 'server_restarted'))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
comment on table tidemill._action_runs is
  'What happened: a row for each run, from its start on. Private: read the view tidemill.action_history.';
comment on column tidemill._action_runs.outcome is 'NULL while it runs.';
comment on column tidemill._action_runs.stop_asked is 'Why the worker that runs it shall stop it.';
create index _action_runs_of on tidemill._action_runs (action_id, id);
create index _action_runs_open on tidemill._action_runs (worker_id) where outcome is null;
create index _action_runs_started on tidemill._action_runs (started_at);

create table tidemill._action_settings (
  only_row boolean primary key default true check (only_row),
  on_failure text
);
comment on table tidemill._action_settings is 'What holds for all actions.';
insert into tidemill._action_settings default values;

create table tidemill._known_crontabs (
  identifier text primary key,
  known_since timestamptz not null,
  last_execution timestamptz
);
comment on table tidemill._known_crontabs is
  'Items of crontab files that a worker has seen; last_execution only ever grows, so each minute is added once.';

-- Built in: seen and altered like any other action.
insert into tidemill._actions
  (id, name, proc_schema, proc_name, owner, schedule_interval, initial_start, max_runtime, retry_period,
   config, check_schema, check_name)
  values (3, 'Action History Retention', 'tidemill', 'prune_action_history', current_user::regrole, '6 hours',
    '2000-01-01 00:00+00', '1 hour', '1 hour',
    '{"drop_after": "1 month", "max_successes_per_job": 1000, "max_failures_per_job": 1000}',
    'tidemill', 'check_history_retention');
insert into tidemill._action_states (action_id, next_start)
  values (3, date_bin('6 hours', clock_timestamp(), '2000-01-01 00:00+00') + interval '6 hours');

create type tidemill._due_task as (
  action tidemill._actions,
  state tidemill._action_states,
  slot timestamptz
);
comment on type tidemill._due_task is 'An action whose job is due.';
