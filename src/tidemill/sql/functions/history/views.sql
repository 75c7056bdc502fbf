create or replace view tidemill.job_history as
select
  h.id,
  h.identifier,
  h.outcome,
  h.finished_at,
  h.started_at,
  h.finished_at - h.started_at as duration,
  h.attempt,
  h.max_attempts,
  h.queue_name,
  h.key,
  h.priority,
  h.created_at,
  h.run_at,
  h.payload,
  h.result,
  h.error,
  h.error_type,
  h.error_frame,
  h.error_fingerprint,
  h.traceback,
  (select w.worker_id from tidemill._history_workers w where w.id = h.worker) as worker_id,
  (select w.version from tidemill._history_workers w where w.id = h.worker) as worker_version,
  tidemill._keep_text(h.keep) as keep,
  h.progress,
  h.progress_message
from (
  select id, identifier, 'done'::text as outcome, finished_at, started_at, attempt, max_attempts, queue_name, key, priority,
    created_at, run_at, payload, result, null::text as error, null::text as error_type, null::text as error_frame,
    null::text as error_fingerprint, null::text as traceback, worker, keep, progress, progress_message
  from tidemill._done_jobs
  union all
  select id, identifier, outcome, finished_at, started_at, attempt, max_attempts, queue_name, key, priority,
    created_at, run_at, payload, null, error, error_type, error_frame, error_fingerprint, traceback, worker, keep,
    progress, progress_message
  from tidemill._ended_attempts
) h;
comment on view tidemill.job_history is
  'What happened: a row for each job that ended well or was removed, and for each attempt that ended otherwise. For jobs whose history is kept: see the option keep.';
comment on column tidemill.job_history.outcome is
  'done; retried (the attempt failed, and another one follows or followed), failed (for good), cancelled; removed (by somebody, before it was done)';
comment on column tidemill.job_history.started_at is 'NULL: it ended without an attempt.';
comment on column tidemill.job_history.duration is 'Of the attempt.';
comment on column tidemill.job_history.run_at is 'When this attempt was due.';
comment on column tidemill.job_history.payload is
  'Of a job that was done or removed; NULL for others, whose job is in tidemill.jobs, and with keep_payload=False.';
comment on column tidemill.job_history.result is 'What the task returned, with keep_result.';
comment on column tidemill.job_history.error_frame is 'Where in the task''s own code: file, line and function.';
comment on column tidemill.job_history.error_fingerprint is
  'The same for errors of one type at one place whose messages differ in numbers alone.';
comment on column tidemill.job_history.worker_version is 'The version of Tidemill that the worker ran.';
comment on column tidemill.job_history.keep is 'How long this row is kept, at least.';
comment on column tidemill.job_history.progress is
  'How far the attempt was, by its last word: from 0 to 1; NULL: it has not said.';
comment on column tidemill.job_history.progress_message is 'The same in words.';
create or replace view tidemill.task_stats as
select
  s.identifier, s.bucket, s.width, s.done, s.failed, s.retried, s.cancelled, s.run_time, s.longest_run, s.wait_time,
  s.runs as run_histogram, s.waits as wait_histogram
from (
  select m.minute as bucket, interval '1 minute' as width, m.* from tidemill._task_minutes m
  union all
  select h.hour, interval '1 hour', h.* from tidemill._task_hours h) s;
comment on view tidemill.task_stats is
$$What became of the attempts of each task, by minute; after two days by hour, and after 30 days no more.

Workers count attempts that have ended, and add their counts with each heartbeat: so the minute is that of the heartbeat,
and the last seconds are missing. Attempts that were given back are not counted.

Element n of a histogram counts times from 2^(n-15) up to 2^(n-14) seconds; the first all shorter ones, the 32nd all longer.
Arrays end at their last count. tidemill.histogram_quantile reads them, tidemill.histogram_sum adds them up.$$;
comment on column tidemill.task_stats.bucket is 'When the minute or hour begins; hours in UTC.';
comment on column tidemill.task_stats.width is '1 minute or 1 hour.';
comment on column tidemill.task_stats.done is 'Attempts that ended well.';
comment on column tidemill.task_stats.failed is 'Attempts that failed, those that will be retried included.';
comment on column tidemill.task_stats.retried is 'Failed attempts with another one to follow.';
comment on column tidemill.task_stats.cancelled is 'Attempts that were cancelled, by their task or by somebody else.';
comment on column tidemill.task_stats.run_time is 'How long these attempts ran, in sum.';
comment on column tidemill.task_stats.longest_run is 'How long the longest one ran.';
comment on column tidemill.task_stats.wait_time is 'From run_at to the start, in sum.';
comment on column tidemill.task_stats.run_histogram is 'How long the attempts ran.';
comment on column tidemill.task_stats.wait_histogram is 'How long they waited.';
