-- How leased jobs end. Each job comes with its claim token: if its lease was taken away,
-- nothing changes. Rows that a producer has locked are left for the next call, so a worker
-- never waits for one, and it waits for locks on tables as briefly as for a claim. Returned are jobs that were not settled ('busy': try again; 'lost':
-- the lease is another's now) and, by _fail_jobs, all jobs.
-- coalesce(locked_by, '') keeps the planner from the index of leases: a worker has many,
-- and comparing each of them with each given job takes quadratic time.

create or replace function tidemill._complete_jobs(worker_id text, job_ids bigint[], tokens bigint[])
returns table (id bigint, outcome text)
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
    with given as materialized (
      select g.id, g.token from unnest(job_ids, tokens) as g(id, token) order by g.id
    ),
    held as materialized (
      select j.id from given g join tidemill._jobs j on j.id = g.id
      where coalesce(j.locked_by, '') = worker_id and j.claim_token = g.token
      for update of j skip locked
    ),
    gone as (
      delete from tidemill._jobs j using held h where j.id = h.id returning j.id, j.gate_id, j.task_id
    ),
    -- Of limited jobs: none costs nothing.
    visits as (
      insert into tidemill._visits
        select v.*
        from (select array_agg(e.gate_id) as gates, array_agg(e.task_id) as tasks
              from gone e where e.gate_id is not null having count(*) > 0) e
        cross join lateral tidemill._visits_of_ended(e.gates, e.tasks, null) v
    )
    select g.id, case when (
        select j.locked_by = worker_id and j.claim_token = g.token from tidemill._jobs j where j.id = g.id)
      then 'busy' else 'lost' end
    from given g
    where g.id not in (select d.id from gone d);
end
$$;

create or replace function tidemill._fail_jobs(
  worker_id text, job_ids bigint[], tokens bigint[], messages text[],
  delays interval[], permanent boolean[], payloads text[], cancels boolean[] default null,
  spares boolean[] default null, kept tidemill._ended_attempt[] default null,
  progresses float8[] default null, progress_messages text[] default null
) returns table (id bigint, outcome text, run_at timestamptz)
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
    with given as materialized (
      select g.* from unnest(job_ids, tokens, messages, delays, permanent, payloads, cancels, spares)
        as g(id, token, message, delay, permanent, payload, cancelled, spared)
      order by g.id
    ),
    held as materialized (
      select j.id, g.message, g.delay, g.permanent, g.payload, g.cancelled, g.spared
      from given g join tidemill._jobs j on j.id = g.id
      where coalesce(j.locked_by, '') = worker_id and j.claim_token = g.token
      for update of j skip locked
    ),
    failed as (
      update tidemill._jobs j set
        last_error = case when j.withdrawn = 'cancelled' then j.last_error else h.message end,
        cancelled_after = case when h.cancelled then coalesce(j.cancelled_after, j.attempts) else j.cancelled_after end,
        attempts = case when h.permanent or h.cancelled then j.max_attempts else j.attempts end,
        -- One more in place of one fewer, so that the waits grow and the job shows what it went through.
        max_attempts = case when h.spared and j.withdrawn is null
          then greatest(j.max_attempts, least(j.attempts + 1, 32767)) else j.max_attempts end,
        -- A time that a producer has set meanwhile may leave no room for a delay.
        run_at = case when j.run_at > '290000-01-01 00:00Z' then j.run_at else greatest(now(), j.run_at)
          + coalesce(h.delay, exp(least(j.attempts, 10)) * interval '1 second') end,
        payload = coalesce(h.payload::json, j.payload), slot = coalesce(j.slot, j.run_at),
        locked_at = null, locked_by = null, claim_token = null, withdrawn = null, updated_at = now()
      from held h where j.id = h.id
      returning j.id, case when j.cancelled_after is not null then 'cancelled'
                           when j.attempts >= j.max_attempts then 'failed' else 'retry' end, j.run_at,
                j.gate_id, j.task_id
    ),
    visits as (
      insert into tidemill._visits
        select v.*
        from (select array_agg(e.gate_id) as gates, array_agg(e.task_id) as tasks, array_agg(e.run_at) as run_ats
              from failed e(id, outcome, run_at) where e.gate_id is not null having count(*) > 0) e
        cross join lateral tidemill._visits_of_ended(e.gates, e.tasks, e.run_ats) v
    )
    select f.id, f.outcome, f.run_at from failed f(id, outcome, run_at)
    union all
    select g.id, case when (
        select j.locked_by = worker_id and j.claim_token = g.token from tidemill._jobs j where j.id = g.id)
      then 'busy' else 'lost' end, null
    from given g
    where g.id not in (select f.id from failed f(id, outcome, run_at));
  if kept is not null then
    perform tidemill._keep_ended(
      array_agg(
        row(k.id, case when j.cancelled_after is not null then 'cancelled'
                       when j.attempts >= j.max_attempts then 'failed' else 'retried' end,
            _fail_jobs.worker_id, k.keep, k.attempt, k.run_at, k.duration, k.age, null, k.error_type, k.error_frame,
            k.traceback)::tidemill._ended_attempt order by k.n),
      array_agg(k.progress order by k.n), array_agg(k.progress_message order by k.n))
      from rows from (unnest(kept), unnest(progresses), unnest(progress_messages)) with ordinality
        k(id, outcome, worker_id, keep, attempt, run_at, duration, age, error, error_type, error_frame, traceback,
          progress, progress_message, n)
      join tidemill._jobs j on j.id = k.id
      -- Those that this transaction has settled.
      where j.xmin = pg_current_xact_id()::xid;
  end if;
end
$$;
comment on function tidemill._fail_jobs is
$$Records failed attempts.

delays     wait before the next attempt, from now or run_at, whichever is later; NULL:
           exp(least(10, attempts)) seconds
permanent  true spends all attempts
payloads   replaces the job's payload; NULL: unchanged
cancels    true: the job is cancelled, so it is not tried again. So is one that cancel_jobs was asked for
spares     true: it was not the last attempt. If it would be, the job gets one more
kept       those of which history is kept, without their outcome
progresses, progress_messages  the last word of each of the kept ones$$;

create or replace function tidemill._return_jobs(worker_id text, job_ids bigint[], tokens bigint[])
returns table (id bigint, outcome text)
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
    with given as materialized (
      select g.id, g.token from unnest(job_ids, tokens) as g(id, token) order by g.id
    ),
    held as materialized (
      select j.id, j.withdrawn in ('replaced', 'removed') and exists (
          select from tidemill._unstarted u where u.claim_token = j.claim_token) as removed
      from given g join tidemill._jobs j on j.id = g.id
      where coalesce(j.locked_by, '') = worker_id and j.claim_token = g.token
      for update of j skip locked
    ),
    -- Whoever asked for it need not wait for an attempt.
    removed as (
      delete from tidemill._jobs j using held h where j.id = h.id and h.removed returning j.id, j.gate_id, j.task_id
    ),
    returned as (
      update tidemill._jobs j set
        attempts = case when j.withdrawn is null then j.attempts - 1 else j.attempts end,
        cancelled_after = j.cancelled_after - 1,
        updated_at = case when j.withdrawn is null then j.updated_at else now() end,
        last_error = case j.withdrawn
          when 'replaced' then 'Given back unfinished after a newer job took over its key'
          when 'removed' then 'Given back unfinished after its removal by key'
          else j.last_error end,
        locked_at = null, locked_by = null, claim_token = null, withdrawn = null
      from held h where j.id = h.id and h.removed is not true
      returning j.id, j.gate_id, j.task_id
    ),
    visits as (
      insert into tidemill._visits
        select v.*
        from (select array_agg(e.gate_id) as gates, array_agg(e.task_id) as tasks
              from (select r.* from returned r union all select r.* from removed r) e
              where e.gate_id is not null having count(*) > 0) e
        cross join lateral tidemill._visits_of_ended(e.gates, e.tasks, null) v
    )
    select g.id, case when (
        select j.locked_by = worker_id and j.claim_token = g.token from tidemill._jobs j where j.id = g.id)
      then 'busy' else 'lost' end
    from given g
    where g.id not in (select r.id from returned r union all select r.id from removed r);
  delete from tidemill._unstarted u
    where u.claim_token = any(tokens)
      -- Those that are left to be returned have not started, either.
      and not exists (
        select from tidemill._jobs j where j.locked_by = worker_id and j.claim_token = u.claim_token);
  perform tidemill._notify_workers(now());
end
$$;
comment on function tidemill._return_jobs is
  'Gives leased jobs back unfinished, without spending an attempt; withdrawn jobs fail instead, or go if they had not started.';

create or replace function tidemill._release_queues(worker_id text, queue_ids bigint[], tokens bigint[])
returns void
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  with held as materialized (
    select q.id from unnest(queue_ids, tokens) as g(id, token) join tidemill._queues q on q.id = g.id
    where q.locked_by = worker_id and q.claim_token = g.token
    order by q.id for no key update of q
  )
  update tidemill._queues q set locked_at = null, locked_by = null, claim_token = null
  from held h where q.id = h.id;
end
$$;

create or replace function tidemill._return_unknown_jobs(worker_id text, known_tokens bigint[])
returns setof bigint
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  ids bigint[];
  tokens bigint[];
begin
  -- Rows that a producer has locked are left for the next call: a worker calls this repeatedly.
  select array_agg(h.id), array_agg(h.claim_token) into ids, tokens
    from (select j.id, j.claim_token from tidemill._jobs j
          where j.locked_by = worker_id and j.claim_token <> all(known_tokens)
          order by j.id for update skip locked) h;
  perform tidemill._return_jobs(worker_id, ids, tokens) where ids is not null;
  update tidemill._queues q set locked_at = null, locked_by = null, claim_token = null
    where q.locked_by = worker_id and q.claim_token <> all(known_tokens);
  return query select unnest(ids);
end
$$;
comment on function tidemill._return_unknown_jobs is
  'After a lost connection: frees claims that were committed, but whose answer never reached the worker.';
