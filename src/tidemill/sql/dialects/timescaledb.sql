-- TimescaleDB's names over Tidemill's functions: wrappers only, no logic.
-- schemas: timescaledb_information, _timescaledb_config
-- public: add_job(regproc, interval, jsonb, timestamptz, boolean, regproc, boolean, text, text)
-- public: alter_job(integer, interval, interval, integer, interval, boolean, jsonb, timestamptz, boolean, regproc, boolean, timestamptz, text, text, jsonb)
-- public: delete_job(integer)
-- public: run_job(integer)

create or replace function public.add_job(
  proc regproc,
  schedule_interval interval,
  config jsonb default null,
  initial_start timestamptz default null,
  scheduled boolean default true,
  check_config regproc default null,
  fixed_schedule boolean default true,
  timezone text default null,
  job_name text default null
) returns integer
language sql
as $$
  select tidemill._add_action(
    proc, schedule_interval, config, initial_start, scheduled, check_config, fixed_schedule, timezone, job_name,
    null, null, null, null, null, null, null, null, null, false, 'job')
$$;
comment on function public.add_job(
  regproc, interval, jsonb, timestamptz, boolean, regproc, boolean, text, text) is
  'Laid by Tidemill: tidemill.add_action under TimescaleDB''s name.';

create or replace function public.alter_job(
  job_id integer,
  schedule_interval interval default null,
  max_runtime interval default null,
  max_retries integer default null,
  retry_period interval default null,
  scheduled boolean default null,
  config jsonb default null,
  next_start timestamptz default null,
  if_exists boolean default false,
  check_config regproc default null,
  fixed_schedule boolean default null,
  initial_start timestamptz default null,
  timezone text default null,
  job_name text default null,
  config_merge jsonb default null
) returns table (
  job_id integer,
  schedule_interval interval,
  max_runtime interval,
  max_retries integer,
  retry_period interval,
  scheduled boolean,
  config jsonb,
  next_start timestamptz,
  check_config text,
  fixed_schedule boolean,
  initial_start timestamptz,
  timezone text,
  application_name name
)
language sql
as $$
  select
    (r.a).id, (r.a).schedule_interval, (r.a).max_runtime, (r.a).max_retries, (r.a).retry_period,
    (r.a).scheduled, (r.a).config, r.starts, r.checked_by, (r.a).fixed_schedule, (r.a).initial_start,
    (r.a).timezone, r.application_name
  from tidemill._alter_action(
    job_id, schedule_interval, max_runtime, max_retries, retry_period, scheduled, config, next_start, if_exists,
    check_config, fixed_schedule, initial_start, timezone, job_name, config_merge,
    null, null, null, null, null, 'job') r
$$;
comment on function public.alter_job(
  integer, interval, interval, integer, interval, boolean, jsonb, timestamptz, boolean, regproc, boolean,
  timestamptz, text, text, jsonb) is
  'Laid by Tidemill: tidemill.alter_action under TimescaleDB''s name.';

create or replace function public.delete_job(job_id integer) returns void
language sql strict
as $$ select tidemill._delete_action(job_id, 'job') $$;
comment on function public.delete_job(integer) is
  'Laid by Tidemill: tidemill.delete_action under TimescaleDB''s name.';

-- No SET clause, no SECURITY DEFINER, no EXCEPTION block: the job's procedure may COMMIT.
create or replace procedure public.run_job(job_id integer)
language plpgsql
as $$
begin
  call tidemill._run_action(job_id, 'job');
end
$$;
comment on procedure public.run_job(integer) is
  'Laid by Tidemill: tidemill.run_action under TimescaleDB''s name.';

create or replace view _timescaledb_config.bgw_job as
select
  a.id,
  tidemill._application_name(a.id, a.name)::name as application_name,
  a.schedule_interval,
  a.max_runtime,
  a.max_retries,
  a.retry_period,
  a.proc_schema,
  coalesce(a.proc_name, a.task::name) as proc_name,
  a.owner,
  a.scheduled,
  a.fixed_schedule,
  a.initial_start,
  null::integer as hypertable_id,
  a.config,
  a.check_schema,
  a.check_name,
  a.timezone
from tidemill._actions a;
comment on view _timescaledb_config.bgw_job is
  'Actions with the columns of TimescaleDB''s table. Writing goes through the functions.';

create or replace view timescaledb_information.jobs as
select
  j.id as job_id,
  j.application_name,
  j.schedule_interval,
  j.max_runtime,
  j.max_retries,
  j.retry_period,
  j.proc_schema,
  j.proc_name,
  j.owner,
  j.scheduled,
  j.fixed_schedule,
  j.config,
  s.next_start,
  j.initial_start,
  null::name as hypertable_schema,
  null::name as hypertable_name,
  j.check_schema,
  j.check_name
from _timescaledb_config.bgw_job j
-- TimescaleDB has no such row before the first start of a job that starts at once.
left join tidemill._action_states s
  on s.action_id = j.id and (s.last_start is not null or s.next_start <> '-infinity');
comment on view timescaledb_information.jobs is
  'Actions with TimescaleDB''s columns. Natively: tidemill.actions. Cron lines have no schedule_interval, tasks no proc_schema.';

create or replace view timescaledb_information.job_stats as
select
  null::name as hypertable_schema,
  null::name as hypertable_name,
  t.action_id as job_id,
  case when s.action_id is not null then coalesce(s.last_start, '-infinity') end as last_run_started_at,
  case when s.action_id is not null then coalesce(s.last_successful_finish, '-infinity') end
    as last_successful_finish,
  case when t.last_run_success then 'Success' when not t.last_run_success then 'Failed' end as last_run_status,
  initcap(t.state) as job_status,
  t.last_duration as last_run_duration,
  case when t.state <> 'paused' then s.next_start end as next_start,
  t.total_runs,
  t.total_successes,
  t.total_failures
from tidemill.action_stats t
left join tidemill._action_states s
  on s.action_id = t.action_id and (s.last_start is not null or s.next_start <> '-infinity')
order by t.action_id;
comment on view timescaledb_information.job_stats is
  'Where each action stands, with TimescaleDB''s columns. Natively: tidemill.action_stats.';

create or replace view timescaledb_information.job_history with (security_barrier) as
select
  h.id,
  h.action_id as job_id,
  h.succeeded,
  r.proc_schema::text as proc_schema,
  coalesce(r.proc_name::text, r.task) as proc_name,
  h.pid,
  h.started_at as start_time,
  h.finished_at as finish_time,
  h.config,
  h.sqlstate as sqlerrcode,
  h.message || case
    when h.detail is not null and h.hint is not null then '. ' || h.detail || '. ' || h.hint
    when h.detail is not null then ' ' || h.detail
    when h.hint is not null then '. ' || h.hint
    else ''
  end as err_message
from tidemill.action_history h
join tidemill._action_runs r on r.id = h.id
where h.outcome is distinct from 'skipped';
comment on view timescaledb_information.job_history is
  'Runs with TimescaleDB''s columns. Natively: tidemill.action_history.';

create or replace view timescaledb_information.job_errors with (security_barrier) as
select h.job_id, h.proc_schema, h.proc_name, h.pid, h.start_time, h.finish_time, h.sqlerrcode, h.err_message
from timescaledb_information.job_history h
where not h.succeeded;
comment on view timescaledb_information.job_errors is
  'Runs that failed, with TimescaleDB''s columns. Natively: tidemill.action_errors.';

grant usage on schema timescaledb_information, _timescaledb_config to public;
grant select on all tables in schema timescaledb_information, _timescaledb_config to public;
