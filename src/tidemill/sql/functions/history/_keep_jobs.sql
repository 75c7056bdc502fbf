-- Writes history in the statement that settles: _settle_jobs.sql and _settle_batch.sql for jobs of which no history is
-- kept, these for the others. Rows come with the transaction that deletes or changes the jobs, or not at all.

create or replace function tidemill._complete_kept_jobs(
  worker_id text, job_ids bigint[], tokens bigint[],
  keeps smallint[], with_payloads boolean[], durations float8[], ages float8[], results text[],
  progresses float8[] default null, progress_messages text[] default null
) returns table (id bigint, outcome text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  worker constant integer := tidemill._history_worker(worker_id);
  told_at constant double precision := extract(epoch from clock_timestamp());
  task_ids integer[];
  identifiers text[];
  gone bigint[];
  gates bigint[];
  tasks integer[];
begin
  -- A search for each row would take as long as an index does. Where there are more tasks, it is made for theirs.
  select array_agg(t.id), array_agg(t.identifier) into task_ids, identifiers
    from (select t.* from tidemill._tasks t order by t.id limit 50) t;
  with given as materialized (
    select g.*
    from unnest(job_ids, tokens, keeps, with_payloads, durations, ages, results, progresses, progress_messages)
      as g(id, token, keep, with_payload, duration, age, result, progress, progress_message)
    order by g.id
  ),
  held as materialized (
    select g.* from given g join tidemill._jobs j on j.id = g.id
    where coalesce(j.locked_by, '') = worker_id and j.claim_token = g.token
    for update of j skip locked
  ),
  gone as (
    delete from tidemill._jobs j using held h where j.id = h.id
    -- One that was asked to cancel while it ran has all its attempts spent.
    returning j.id, j.created_at, j.run_at, coalesce(j.cancelled_after, j.attempts) as attempts, j.max_attempts, j.priority,
              j.task_id, j.queue_id, j.gate_id, j.key,
              j.payload, h.keep, h.with_payload, h.duration, h.age, h.result, h.progress, h.progress_message
  ),
  kept as (
    insert into tidemill._done_jobs
      (id, created_at, run_at, started_at, finished_at, worker, keep, attempt, max_attempts, priority, identifier,
       queue_name, key, payload, result, progress, progress_message)
      select g.id, g.created_at, g.run_at, to_timestamp(told_at - g.age - g.duration), to_timestamp(told_at - g.age), worker,
             g.keep, g.attempts, g.max_attempts, g.priority,
             coalesce(identifiers[array_position(task_ids, g.task_id)],
                      (select t.identifier from tidemill._tasks t where t.id = g.task_id)),
             case when g.queue_id is not null then (select q.queue_name from tidemill._queues q where q.id = g.queue_id) end, g.key,
             case when g.with_payload then g.payload end, g.result::json, g.progress, g.progress_message
      from gone g
  )
  select array_agg(g.id), array_agg(g.gate_id) filter (where g.gate_id is not null),
         array_agg(g.task_id) filter (where g.gate_id is not null)
    into gone, gates, tasks
    from gone g;
  if gates is not null then
    insert into tidemill._visits select v.* from tidemill._visits_of_ended(gates, tasks, null) v;
  end if;
  perform tidemill._tell_waiters(gone);
  return query
    select g.id, case when (
        select j.locked_by = worker_id and j.claim_token = g.token from tidemill._jobs j where j.id = g.id)
      then 'busy' else 'lost' end
    from unnest(job_ids, tokens) as g(id, token)
    where g.id <> all(coalesce(gone, '{}'));
end
$$;
comment on function tidemill._complete_kept_jobs is
$$As _complete_jobs, for jobs whose history is kept.

keeps          see _keep_of
with_payloads  whether the payload is kept, too
durations      seconds that the attempt took
ages           seconds since its end
results        what the task has returned, as JSON; NULL: not kept
progresses     how far the job was, by its last word; NULL: none has said
progress_messages  the same in words$$;

create or replace function tidemill._settle_kept_batch(
  worker_id text, job_ids bigint[], keeps smallint[], with_payloads boolean[], durations float8[], ages float8[],
  results text[], progresses float8[] default null, progress_messages text[] default null
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  worker constant integer := tidemill._history_worker(worker_id);
  told_at constant double precision := extract(epoch from clock_timestamp());
  task_ids integer[];
  identifiers text[];
begin
  -- A search for each row would take as long as an index does. Where there are more tasks, it is made for theirs.
  select array_agg(t.id), array_agg(t.identifier) into task_ids, identifiers
    from (select t.* from tidemill._tasks t order by t.id limit 50) t;
  with gone as (
    delete from tidemill._jobs j
      using unnest(job_ids, keeps, with_payloads, durations, ages, results, progresses, progress_messages)
        as g(id, keep, with_payload, duration, age, result, progress, progress_message)
      where j.id = g.id
      returning j.id, j.created_at, j.run_at, j.attempts, j.max_attempts, j.priority, j.task_id, j.queue_id, j.key, j.payload,
                g.keep, g.with_payload, g.duration, g.age, g.result, g.progress, g.progress_message
  )
  insert into tidemill._done_jobs
    (id, created_at, run_at, started_at, finished_at, worker, keep, attempt, max_attempts, priority, identifier,
     queue_name, key, payload, result, progress, progress_message)
    select g.id, g.created_at, g.run_at, to_timestamp(told_at - g.age - g.duration), to_timestamp(told_at - g.age), worker,
           g.keep, g.attempts + 1::smallint, g.max_attempts, g.priority,
           coalesce(identifiers[array_position(task_ids, g.task_id)],
                    (select t.identifier from tidemill._tasks t where t.id = g.task_id)),
           case when g.queue_id is not null then (select q.queue_name from tidemill._queues q where q.id = g.queue_id) end, g.key,
           case when g.with_payload then g.payload end, g.result::json, g.progress, g.progress_message
    from gone g;
  perform tidemill._tell_waiters(job_ids);
  return true;
-- An error would undo the batch, and its jobs would run again.
exception when others then
  return false;
end
$$;
comment on function tidemill._settle_kept_batch is
$$The done jobs of an express batch whose history is kept, before _settle_batch; arguments as _complete_kept_jobs.

False: it cannot be written now, since a partition is locked, say. Then the caller leases them, and tries again later.$$;

create or replace function tidemill._history_worker(worker_id text) returns integer
language plpgsql
as $$
declare
  known integer;
begin
  select h.id into known from tidemill._history_workers h where h.worker_id operator(pg_catalog.=) _history_worker.worker_id;
  if known is null then
    insert into tidemill._history_workers as h (worker_id, hostname, version)
      select _history_worker.worker_id, w.hostname, w.version
      from (select) one left join tidemill._workers w on w.id operator(pg_catalog.=) _history_worker.worker_id
      on conflict on constraint _history_workers_worker_id_key do update set last_seen = pg_catalog.now()
      returning h.id into known;
  end if;
  return known;
end
$$;
comment on function tidemill._history_worker is 'The number of a worker in history, which it gets with the first job that it keeps.';

create or replace function tidemill._fingerprint(error_type text, error_frame text, error text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select left(encode(sha256(convert_to(
    concat_ws(chr(10), error_type, regexp_replace(error_frame, ':[0-9]+', ''),
              -- Ids, times, hashes and quoted values differ from one job to the next.
              regexp_replace(split_part(left(error, 500), chr(10), 1), '0x[0-9a-fA-F]+|[0-9a-fA-F-]{32,}|[0-9]+', '#', 'g')),
    'UTF8')), 'hex'), 16)
$$;
comment on function tidemill._fingerprint is
  'The same for errors of one type at one place in the code whose first lines differ in numbers alone.';

create or replace function tidemill._keep_ended(
  ended tidemill._ended_attempt[], progresses float8[] default null, progress_messages text[] default null
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  told_at constant timestamptz := clock_timestamp();
begin
  insert into tidemill._ended_attempts
    (id, created_at, run_at, started_at, finished_at, worker, keep, attempt, max_attempts, priority, outcome, identifier,
     queue_name, key, error, error_type, error_frame, error_fingerprint, traceback, progress, progress_message)
    select j.id, j.created_at, coalesce(e.run_at, j.run_at), told_at - (e.age + e.duration) * interval '1 second',
           told_at - coalesce(e.age, 0) * interval '1 second',
           case when e.worker_id is not null then tidemill._history_worker(e.worker_id) end,
           h.keep, coalesce(e.attempt, j.cancelled_after, j.attempts), j.max_attempts, j.priority, e.outcome,
           t.identifier, q.queue_name, j.key, f.error, e.error_type, e.error_frame,
           case when e.outcome in ('retried', 'failed') then tidemill._fingerprint(e.error_type, e.error_frame, f.error) end,
           e.traceback, e.progress, e.progress_message
    from unnest(ended, progresses, progress_messages)
      e(id, outcome, worker_id, keep, attempt, run_at, duration, age, error, error_type, error_frame, traceback,
        progress, progress_message)
    join tidemill._jobs j on j.id = e.id
    cross join lateral (select coalesce(e.error, j.last_error)) f(error)
    join tidemill._tasks t on t.id = j.task_id
    left join tidemill._queues q on q.id = j.queue_id
    -- A keep that no worker has used yet has no place; its first worker makes it.
    join tidemill._history_keeps h on h.keep = coalesce(e.keep, j.keep, t.keep);
  perform tidemill._tell_waiters(array(select e.id from unnest(ended) e where e.outcome <> 'retried'));
end
$$;
comment on function tidemill._keep_ended is
$$Writes history of attempts that ended otherwise than well, after their jobs' rows were changed.

It is kept as each says, else as the job, else as its task. Without an error it is the job's last_error.
progresses and progress_messages have the last word of each.$$;

create or replace function tidemill._keep_ends(job_ids bigint[], outcome text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._keep_ended(array(
    select row(i, outcome, null, null, null, null, null, null, null, null, null, null)::tidemill._ended_attempt
    from unnest(job_ids) i));
end
$$;
comment on function tidemill._keep_ends is 'Writes history of jobs that somebody ended while no attempt ran.';

create or replace function tidemill._keep_removed(job_ids bigint[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._ended_attempts
    (id, created_at, run_at, finished_at, keep, attempt, max_attempts, priority, outcome, identifier, queue_name, key,
     payload, error)
    select g.id, g.created_at, g.run_at, clock_timestamp(), h.keep, coalesce(g.cancelled_after, g.attempts),
           g.max_attempts, g.priority, 'removed', t.identifier, q.queue_name, g.key,
           case when t.keeps_payload then g.payload end, g.last_error
    from tidemill._jobs g
    join tidemill._tasks t on t.id = g.task_id
    left join tidemill._queues q on q.id = g.queue_id
    join tidemill._history_keeps h on h.keep = coalesce(g.keep, t.keep)
    where g.id = any(job_ids);
  perform tidemill._tell_waiters(job_ids);
end
$$;
comment on function tidemill._keep_removed is 'Writes history of jobs that are about to be deleted before they are done.';

create or replace function tidemill._keeps_history() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select exists (select from tidemill._history_keeps) $$;
comment on function tidemill._keeps_history is 'Whether the history of any job is kept.';

create or replace function tidemill._tell_waiters(job_ids bigint[]) returns void
language plpgsql
as $$
begin
  -- Nearly always nobody waits.
  if exists (select from tidemill._waiters) then
    perform pg_catalog.pg_notify(w.channel, w.ids) from (
      select r.channel, pg_catalog.string_agg(r.job_id::text, ',') as ids from (
        select w.channel, w.job_id, pg_catalog.row_number() over (partition by w.channel) as nr
        from tidemill._waiters w where w.job_id operator(pg_catalog.=) any(job_ids)) r
      group by r.channel, r.nr operator(pg_catalog./) 390) w;
  end if;
end
$$;
comment on function tidemill._tell_waiters is
  'Tells those who wait for the end of these jobs. Called last: one that begins to wait meanwhile looks by itself.';
