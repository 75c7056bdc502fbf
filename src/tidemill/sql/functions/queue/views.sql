create or replace view tidemill.jobs as
select
  j.id,
  t.identifier,
  q.queue_name,
  j.payload,
  case when j.cancelled_after is not null and j.locked_at is null then 'cancelled'
    else tidemill._state(j.locked_at, j.attempts, j.max_attempts, j.run_at) end as state,
  j.priority,
  j.run_at,
  -- A claim counts an attempt ahead of the start.
  (coalesce(j.cancelled_after, j.attempts) operator(pg_catalog.-)
    case when j.locked_at is not null and exists (select from tidemill._unstarted u where u.claim_token = j.claim_token)
      then 1 else 0 end::smallint)::smallint as attempts,
  j.max_attempts,
  j.last_error,
  j.created_at,
  j.updated_at,
  j.key,
  j.locked_at,
  j.locked_by,
  j.revision,
  j.flags,
  exists (
    select from tidemill._workers w
    -- Not clock_timestamp(): who leaves this column out would pay for it, and their filters would come after the joins.
    where w.expires_at > statement_timestamp() and t.identifier = any(w.identifiers)) as has_worker,
  j.locked_at is null and j.attempts > 0 and j.attempts < j.max_attempts as retrying,
  coalesce(j.slot, j.run_at) as slot,
  tidemill._keep_text(j.keep) as keep,
  j.trace,
  p.fraction as progress,
  p.message as progress_message,
  least(t.paused_at, q.paused_at) as paused_at
from tidemill._jobs j
join tidemill._tasks t on t.id = j.task_id
left join tidemill._queues q on q.id = j.queue_id
left join tidemill._progress p on p.job_id = j.id and p.claim_token = j.claim_token;
comment on view tidemill.jobs is 'Jobs that are not done, one row each. Completed jobs are deleted.';
comment on column tidemill.jobs.state is
  'ready (due, waits for a worker, or runs in an express batch), scheduled (run_at is ahead, also between retries), running (leased to a worker, in whose hand it may wait), failed (for good), cancelled';
comment on column tidemill.jobs.attempts is
  'Attempts that have begun; max_attempts once the job has failed for good. A cancelled job: the attempts that it had begun.';
comment on column tidemill.jobs.updated_at is 'When an add, an administrator or a failed attempt last changed it; so when a job failed or was cancelled.';
comment on column tidemill.jobs.locked_by is 'The worker that runs it: tidemill.workers.id.';
comment on column tidemill.jobs.revision is 'How often an add with the same key has changed it.';
comment on column tidemill.jobs.has_worker is 'Whether a live worker knows the task; else the job waits.';
comment on column tidemill.jobs.retrying is
  'Whether it has failed and waits for its next attempt.';
comment on column tidemill.jobs.slot is
  'The run_at of its first attempt, which retries do not move: of a task action''s job, the action''s slot.';
comment on column tidemill.jobs.keep is
  'How long tidemill.job_history has it, if the job says so itself; NULL: as its task and worker say.';
comment on column tidemill.jobs.trace is 'The trace context of whoever added it: a W3C traceparent.';
comment on column tidemill.jobs.progress is
  'How far a running job says it is, from 0 to 1 (job.progress); NULL if it says nothing.';
comment on column tidemill.jobs.progress_message is 'What it says of it.';
comment on column tidemill.jobs.paused_at is
  'Since when its task, its named queue or everything is paused (tidemill.pauses); NULL: none of them is.';

create or replace view tidemill.workers as
select
  w.id,
  w.hostname,
  w.pid,
  w.version,
  case
    when w.lost_at is not null or w.expires_at <= clock_timestamp() then 'lost'
    when w.stopping then 'stopping'
    else 'running'
  end as state,
  w.concurrency,
  w.in_hand,
  w.identifiers as tasks,
  w.started_at,
  w.heartbeat_at,
  w.expires_at,
  w.stop_asked
from tidemill._workers w;
comment on view tidemill.workers is
  'Worker processes that are running now, and for a minute those that were lost.';
comment on column tidemill.workers.state is
  'running, stopping (finishes its jobs), or lost (its connection is gone, or it missed its deadline, when its leases end)';
comment on column tidemill.workers.in_hand is 'Jobs claimed and not yet settled, as of heartbeat_at.';
comment on column tidemill.workers.stop_asked is 'Who has asked it to stop, and why: tidemill.stop_worker. NULL: nobody.';

create or replace view tidemill.tasks as
select
  n.identifier, s.payload_schema, s.options, s.summary, coalesce(w.workers, 0)::integer as workers,
  greatest(s.seen_at, w.seen_at) as last_seen
from (
  select t.identifier from tidemill._tasks t
  union select s.identifier from tidemill._task_specs s
  union select unnest(w.identifiers) from tidemill._workers w) n
left join tidemill._task_specs s on s.identifier = n.identifier
left join (
  select i.identifier, count(*) filter (where w.expires_at > clock_timestamp() and w.lost_at is null) as workers,
         max(w.heartbeat_at) as seen_at
  from tidemill._workers w cross join unnest(w.identifiers) i (identifier)
  group by i.identifier) w on w.identifier = n.identifier;
comment on view tidemill.tasks is 'Tasks that a worker knows or knew, or that a job was added for.';
comment on column tidemill.tasks.payload_schema is
  'What its payload must be, as JSON Schema; NULL if no worker has told, or it is larger than 32 kB.';
comment on column tidemill.tasks.options is
  'Those of its code that are set: max_attempts, timeout (seconds), queue, priority, schedule (every, cron, timezone, missed), keep, keep_result, keep_payload, limit (its name, or concurrency, per, rate, period in seconds, burst).';
comment on column tidemill.tasks.summary is 'The first line of its docstring, up to 200 characters.';
comment on column tidemill.tasks.workers is 'How many live workers know it.';
comment on column tidemill.tasks.last_seen is
  'When a live worker last knew it: the last heartbeat; of workers that have gone, to about an hour. NULL: never.';

create or replace view tidemill.bulk_acts as
select
  b.id,
  b.act,
  b.filter,
  b.options,
  b.state,
  b.asked_by,
  b.application_name,
  b.created_at,
  b.cutoff,
  b.matching,
  case
    when b.state = 'done' or b.last_id < b.first_id then 1
    else (b.reached_id - b.first_id + 1)::real / (b.last_id - b.first_id + 1) end::real as progress,
  b.changed,
  b.passed_over,
  b.started_at,
  b.moved_at,
  b.finished_at
from tidemill._bulk_acts b;
comment on view tidemill.bulk_acts is
  'Changes of many jobs by a filter, for 90 days: see tidemill.begin_bulk_act.';
comment on column tidemill.bulk_acts.act is 'retry, cancel, remove or reschedule.';
comment on column tidemill.bulk_acts.state is
  'planned, running (also if whoever ran it has gone: call tidemill.run_bulk_act again), done or aborted';
comment on column tidemill.bulk_acts.cutoff is 'Jobs that were added or changed after it are not taken.';
comment on column tidemill.bulk_acts.matching is 'How many jobs there were when it was planned; 10001 stands for more than 10,000.';
comment on column tidemill.bulk_acts.progress is '0 to 1.';
comment on column tidemill.bulk_acts.passed_over is
  'For each reason how many jobs were passed over, and the ids of the first 20: see tidemill.step_bulk_act.';
comment on column tidemill.bulk_acts.moved_at is 'When its last batch ended.';
