create or replace view tidemill.actions as
select
  a.id,
  a.name,
  tidemill._application_name(a.id, a.name) as application_name,
  case when a.task is null then 'routine' else 'task' end as kind,
  case when a.task is null then format('%I.%I', a.proc_schema, a.proc_name) end as routine,
  a.task,
  coalesce(a.cron, a.schedule_interval::text) as schedule,
  a.schedule_interval,
  a.fixed_schedule,
  a.initial_start,
  a.timezone,
  nullif(s.next_start, '-infinity') as next_start,
  case when s.run_id is not null then 'running' when a.scheduled then 'scheduled' else 'paused' end as state,
  a.scheduled,
  a.paused_because,
  a.owner,
  a.config,
  case when a.check_name is not null then format('%I.%I', a.check_schema, a.check_name) end as check_config,
  a.max_runtime,
  a.max_retries,
  a.retry_period,
  a.missed,
  a.backfill_period,
  a.on_failure,
  a.job_options,
  a.declared,
  a.created_at
from tidemill._actions a
join tidemill._action_states s on s.action_id = a.id;
comment on view tidemill.actions is
  'SQL functions, procedures and tasks that run on a schedule. Ids below 1000 are built in.';
comment on column tidemill.actions.application_name is
  'application_name of its server process in pg_stat_activity while it is running.';
comment on column tidemill.actions.kind is 'routine (a function or procedure), or task (its jobs are added).';
comment on column tidemill.actions.routine is
  'The function or procedure, found by this name and (integer, jsonb) at each run.';
comment on column tidemill.actions.schedule is 'The cron line or the interval, as text.';
comment on column tidemill.actions.schedule_interval is 'NULL for a cron line.';
comment on column tidemill.actions.fixed_schedule is
  'Whether it starts at the slots of a grid or cron line; else an interval after the end of the last run.';
comment on column tidemill.actions.initial_start is 'Origin of the grid; without a grid the earliest start.';
comment on column tidemill.actions.timezone is
  'Days and months are counted, and cron lines read, on its clocks; NULL: UTC.';
comment on column tidemill.actions.next_start is
  'NULL: at once or, during a run, not known yet. infinity: never. A paused action has one, too, but does not start.';
comment on column tidemill.actions.state is
  'running, scheduled or paused; one that was paused just now may still be running.';
comment on column tidemill.actions.scheduled is 'Whether it starts by its schedule; false: paused.';
comment on column tidemill.actions.paused_because is 'Why Tidemill paused it; NULL if a user did.';
comment on column tidemill.actions.check_config is 'Called with each new config.';
comment on column tidemill.actions.max_runtime is 'A run that takes longer is stopped; 0: no limit.';
comment on column tidemill.actions.max_retries is 'Failures in a row after which it is paused; -1: never.';
comment on column tidemill.actions.missed is
  'What happens to slots that no worker came to in time: run_once, skip or backfill.';
comment on column tidemill.actions.on_failure is 'Task of which a job is added when a run fails.';
comment on column tidemill.actions.job_options is 'Options of add_job for the jobs of a task.';
comment on column tidemill.actions.declared is
  'Whether a task''s code declares it; then workers keep the schedule that the code gives.';

create or replace view tidemill.action_stats as
select
  a.id as action_id,
  a.name,
  case when s.run_id is not null then 'running' when a.scheduled then 'scheduled' else 'paused' end as state,
  s.run_id,
  case when s.run_id is not null then s.last_start end as running_since,
  s.last_start,
  case when s.run_id is null then s.last_finish end as last_finish,
  case when s.run_id is null then s.last_finish - s.last_start end as last_duration,
  case when s.run_id is null then s.last_run_success end as last_run_success,
  s.last_successful_finish,
  case when a.scheduled then nullif(s.next_start, '-infinity') end as next_start,
  s.total_runs,
  s.total_successes,
  s.total_failures,
  s.total_crashes,
  s.total_duration,
  s.total_duration_failures,
  s.consecutive_failures,
  s.consecutive_crashes
from tidemill._actions a
join tidemill._action_states s on s.action_id = a.id;
comment on view tidemill.action_stats is 'Where each action stands: its last run, its next start, and counts.';
comment on column tidemill.action_stats.state is 'As in tidemill.actions.';
comment on column tidemill.action_stats.run_id is
  'The present run: tidemill.action_history.id; NULL if none is running.';
comment on column tidemill.action_stats.last_start is 'When the last run began; during a run, when that began.';
comment on column tidemill.action_stats.last_finish is
  'When the last run ended; NULL during a run, as are last_duration and last_run_success.';
comment on column tidemill.action_stats.next_start is
  'NULL: at once; or not known, during a run; or never, as the action is paused.';
comment on column tidemill.action_stats.total_runs is
  'Runs that began, by schedule or by hand; skipped slots do not count.';
comment on column tidemill.action_stats.total_failures is
  'Outcomes failure, timeout, stopped and backend_terminated; total_crashes: worker_lost and server_restarted.';
comment on column tidemill.action_stats.total_duration is
  'Time that successful runs took; total_duration_failures: that the others took.';
comment on column tidemill.action_stats.consecutive_failures is
  'Failures since the last success; they lengthen the wait before a retry.';

create or replace view tidemill.action_history with (security_barrier) as
select
  r.id,
  r.action_id,
  nullif(left(r.application_name, -length(' [' || r.action_id || ']')), 'User-Defined Action') as name,
  r.outcome,
  case when r.outcome <> 'skipped' then r.outcome = 'success' end as succeeded,
  r.by_hand,
  r.slot,
  r.started_at,
  r.finished_at,
  coalesce(r.finished_at, clock_timestamp()) - r.started_at as duration,
  case when r.task is null then format('%I.%I', r.proc_schema, r.proc_name) end as routine,
  r.task,
  r.job_id,
  r.owner,
  r.worker_id,
  r.pid,
  r.config,
  r.sqlstate,
  r.message,
  r.detail,
  r.hint,
  r.context,
  r.output
from tidemill._action_runs r
where (select pg_has_role(d.datdba, 'MEMBER') from pg_database d where d.datname = current_database())
  or pg_has_role(r.owner::oid, 'MEMBER');
comment on view tidemill.action_history is
  'Runs of actions, from their start on, also of deleted actions. A role sees the runs of owners whose member it is; members of the database''s owner see all.';
comment on column tidemill.action_history.name is 'The action''s name at that time.';
comment on column tidemill.action_history.outcome is
  'NULL while it is running; then success, failure (an error), timeout (max_runtime), stopped (paused, deleted, or its worker was stopped), skipped (slots were missed), backend_terminated, worker_lost or server_restarted';
comment on column tidemill.action_history.succeeded is 'NULL while it is running, and for skipped slots.';
comment on column tidemill.action_history.by_hand is 'Whether run_action started it rather than the schedule.';
comment on column tidemill.action_history.slot is 'The scheduled time that the run is for.';
comment on column tidemill.action_history.duration is 'Until now while it is running.';
comment on column tidemill.action_history.job_id is 'The job that was added, if the action is a task.';
comment on column tidemill.action_history.owner is
  'Owner of the action, and the role that it ran as unless by hand.';
comment on column tidemill.action_history.worker_id is 'The worker that ran it: tidemill.workers.id.';
comment on column tidemill.action_history.pid is 'Its server process.';
comment on column tidemill.action_history.config is 'The config that it was called with.';
comment on column tidemill.action_history.output is 'Notices and warnings that it raised, up to a limit.';

create or replace view tidemill.action_errors with (security_barrier) as
select
  h.id, h.action_id, h.name, h.outcome, h.by_hand, h.slot, h.started_at, h.finished_at, h.duration, h.routine,
  h.task, h.owner, h.worker_id, h.pid, h.config, h.sqlstate, h.message, h.detail, h.hint, h.context, h.output
from tidemill.action_history h
where not h.succeeded;
comment on view tidemill.action_errors is
  'Runs in tidemill.action_history that ended without success. Skipped slots do not count.';
