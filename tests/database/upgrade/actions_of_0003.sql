-- Actions in every state that migration 0003 knows. Of the hourly slots of a grid, the fourth was half an hour
-- ago; slots 0 and 1 have been run, and slot 2 is the next one.
create temporary table hourly as
  select name, 'app'::name as proc_schema, 'note'::name as proc_name, null as task, 'run_once' as missed,
         current_user::regrole as owner, interval '1 hour' as schedule_interval,
         now() - interval '210 minutes' as initial_start, '{"a": 1}'::jsonb as config, null::jsonb as options
  from unnest(array[
    'on a grid', 'skips', 'backfills', 'paused', 'ahead', 'retried', 'gives up', 'lost', 'by hand', 'task',
    'task with options']) as name;
update hourly set missed = 'skip' where name = 'skips';
update hourly set missed = 'backfill' where name = 'backfills';
update hourly set proc_name = 'break' where name = 'gives up';
update hourly set proc_schema = null, proc_name = null, task = 't', config = to_jsonb('by ' || name)
  where name like 'task%';
update hourly set options = '{"priority": 5, "queue_name": "free"}' where name = 'task with options';

insert into tidemill._actions
    (name, proc_schema, proc_name, task, missed, owner, schedule_interval, initial_start, config, job_options)
  select * from hourly;
update tidemill._actions set backfill_period = '2 hours' where name = 'backfills';
update tidemill._actions set scheduled = false, paused_because = 'it was tired' where name = 'paused';
update tidemill._actions set max_retries = 3, on_failure = 't' where name = 'gives up';
insert into tidemill._actions (name, proc_schema, proc_name, owner, schedule_interval, fixed_schedule)
  select name, 'app', 'note', current_user::regrole, '1 hour', false from unnest(array['drifts', 'is new']) name;
insert into tidemill._actions (name, proc_schema, proc_name, owner, cron, timezone, cron_fields)
  values ('by cron', 'app', 'note', current_user::regrole, '30 4 29 2 *', 'Europe/Berlin',
    row('{0}', '{30}', '{4}', '{29}', false, false, '{2}', '{0,1,2,3,4,5,6}', '{}', true, true));

insert into tidemill._action_states (action_id, slot, next_start)
  select a.id, now() - interval '150 minutes', now() - interval '90 minutes'
  from tidemill._actions a where a.id >= 1000;
update tidemill._action_states s set next_start = '-infinity', slot = null
  from tidemill._actions a where a.id = s.action_id and a.name = 'is new';
update tidemill._action_states s set next_start = now() + interval '30 minutes'
  from tidemill._actions a where a.id = s.action_id and a.name = 'ahead';
update tidemill._action_states s set
    consecutive_failures = 2, total_failures = 2, total_runs = 2, next_start = now() - interval '100 minutes'
  from tidemill._actions a where a.id = s.action_id and a.name in ('retried', 'gives up');

-- Runs without an end: of a worker that is gone, and by hand in a session that is.
insert into tidemill._action_runs
    (action_id, application_name, owner, proc_schema, proc_name, worker_id, by_hand, pid)
  select a.id, a.name || ' [' || a.id || ']', a.owner, a.proc_schema, a.proc_name,
         case when a.name = 'lost' then 'dead' end, a.name = 'by hand', 1
  from tidemill._actions a where a.name in ('lost', 'by hand');
update tidemill._action_states s set
    run_id = r.id, last_start = r.started_at, total_runs = 1,
    next_start = case when r.by_hand then s.next_start else '-infinity' end
  from tidemill._action_runs r where r.action_id = s.action_id;

-- What an action that was deleted has left.
insert into tidemill._action_runs (action_id, application_name, owner, started_at, finished_at, outcome)
  select 999999, 'long gone [999999]', current_user::regrole, now() - interval '1 day', now() - interval '1 hour', o
  from unnest(array[
    'success', 'failure', 'timeout', 'stopped', 'skipped', 'backend_terminated', 'worker_lost',
    'server_restarted']) o;

update tidemill._action_settings set on_failure = 'unknown';
insert into tidemill._known_crontabs values ('nightly', now() - interval '1 day', now() - interval '1 hour');
