-- When a lease has ended, and how the leases of dead workers are freed.

create or replace function tidemill._sweep_leases(
  at_start boolean default false, most integer default 500, with_unknown boolean default true
) returns table (worker_id text, id bigint, failed boolean, cancelled boolean)
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
-- In place of a wait for whoever locks the table of jobs, the next call frees them.
set lock_timeout = '100ms'
as $$
#variable_conflict use_column
declare
  lost text[];
  newly text[];
  unknown text[];
begin
  perform tidemill._suspect_workers(at_start);

  -- The locks keep a heartbeat waiting until these leases have ended, and then it learns of that.
  select array_agg(l.id) into lost
    from (select w.id from tidemill._workers w
          where tidemill._is_lost(w) and not (w.is_freed and w.lost_at > clock_timestamp() - tidemill._caution())
          order by w.id for update skip locked) l;
  with marked as (
    update tidemill._workers w set suspected_at = '-infinity', lost_at = coalesce(w.lost_at, clock_timestamp())
      where w.id = any(lost) and w.suspected_at > '-infinity'
      returning w.id
  )
  select array_agg(m.id) into newly from marked m;
  -- They may hold row locks of express batches. Anybody may call a session so: only those of our own role are ended.
  -- And whoever may register a worker may name it after a session of ours: only what looks like a worker's is ended.
  if newly is not null then
    perform pg_terminate_backend(a.pid) from pg_stat_activity a
      where a.application_name = any(newly) and tidemill._is_worker_id(a.application_name)
        and a.usename = current_user and a.datname = current_database() and a.pid <> pg_backend_pid();
  end if;

  if with_unknown then
    with recursive holders(id) as (
      (select min(j.locked_by) from tidemill._jobs j)
      union all
      select (select min(j.locked_by) from tidemill._jobs j where j.locked_by > h.id)
      from holders h where h.id is not null
    ),
    all_holders(id) as (
      select h.id from holders h where h.id is not null
      union
      select q.locked_by from tidemill._queues q where q.locked_by is not null
    )
    select array_agg(h.id) into unknown from all_holders h
      where not exists (select from tidemill._workers w where w.id = h.id);
  end if;

  return query select * from tidemill._release_leases(
    coalesce(lost, '{}') || coalesce(unknown, '{}'), true,
    'its worker stopped without a word: killed, crashed, or cut off from the database', most);
  -- To look for leases of theirs again would walk those that have ended and cannot be vacuumed yet.
  update tidemill._workers w set is_freed = true
    where w.id = any(lost) and not w.is_freed
      and not exists (select from tidemill._jobs j where j.locked_by = w.id)
      and not exists (select from tidemill._queues q where q.locked_by = w.id);
  delete from tidemill._workers w
    where w.id = any(lost) and w.is_freed and w.lost_at <= clock_timestamp() - tidemill._caution();
  delete from tidemill._listeners l
    where not exists (select from tidemill._workers w where w.id = l.worker_id);
end
$$;
comment on function tidemill._sweep_leases is
$$Frees jobs and queues of lost workers. Of jobs that may have started the attempt stays spent, and one on its last
attempt fails with a message; the others go back as they were.

Ends the sessions of those that are newly lost. Lost workers stay listed for a minute.
at_start      see _suspect_workers
most          how many jobs to free; where so many are returned, there may be more
with_unknown  whether to free, too, what workers hold that are not listed. To find them it walks all leases, also
              those that have ended and cannot be vacuumed yet$$;

create or replace function tidemill._suspect_workers(at_start boolean) returns void
language sql
as $$
  with suspects as materialized (
    select w.id, w.heartbeat_at, w.expires_at, a.pid is null as gone
    from tidemill._workers w
    -- The statistics are the cluster's: in a restored copy the process is one of the original.
    left join pg_stat_activity a on a.pid = w.backend_pid and a.datname = current_database()
    -- Times that lie ahead are those of a clock that was put back.
    where (w.suspected_at is null or w.suspected_at > clock_timestamp())
        and (a.pid is null or w.heartbeat_at > clock_timestamp()
          or w.heartbeat_at < clock_timestamp() - (w.expires_at - w.heartbeat_at) / 3)
      or a.pid is null and w.lost_at is null
      or w.lost_at > clock_timestamp()
      or at_start and a.pid is null and w.expires_at <= clock_timestamp() and w.suspected_at > w.heartbeat_at
    for no key update of w skip locked
  )
  update tidemill._workers w set
      suspected_at = case
        when at_start and s.gone and s.expires_at <= clock_timestamp()
          then least(w.suspected_at, s.heartbeat_at)
        when w.suspected_at <= clock_timestamp() then w.suspected_at
        else clock_timestamp() end,
      lost_at = case when s.gone or w.lost_at is not null then least(w.lost_at, clock_timestamp()) end
    from suspects s where w.id = s.id
$$;
comment on function tidemill._suspect_workers is
$$Suspects workers whose heartbeats are missing for a third of their lease, and those whose heartbeat's connection
is gone. The latter count as lost for the express lane, at once.

at_start: the caller has just started. So what is long over did not seem so for a moment, since the database
was away: workers that are gone and past their deadline are lost at once.$$;

create or replace function tidemill._is_lost(w tidemill._workers) returns boolean
language sql stable
as $$
  select coalesce(clock_timestamp() >= case
    when w.heartbeat_at between w.suspected_at - (w.expires_at - w.heartbeat_at) and w.suspected_at
      then greatest(w.expires_at, w.suspected_at + (w.expires_at - w.heartbeat_at) / 3)
    -- The clock stepped, or the database was away: what seems long ago may be a moment.
    else w.suspected_at + (w.expires_at - w.heartbeat_at) end, false)
$$;
comment on function tidemill._is_lost is
$$Whether a worker's leases have ended: it is past its deadline, and was suspected for a third of its lease,
or for all of it where its last heartbeat lies ahead of the suspicion, or more than a lease before.

With suspected_at = '-infinity' a sweep has marked it, and it stays so until the worker registers again.$$;

create or replace function tidemill._release_leases(
  worker_ids text[], if_ended boolean, why text, most integer default null
) returns table (worker_id text, id bigint, failed boolean, cancelled boolean)
language plpgsql
as $$
#variable_conflict use_column
declare
  holders text[];
  ids bigint[];
  fails boolean[];
  cancels boolean[];
  unstarteds boolean[];
  tokens bigint[];
  freed_jobs bigint;
begin
  if worker_ids = '{}' then
    return;
  end if;
  -- From here on the worker, should it still be there, can start none of these.
  update tidemill._unstarted u set is_taken = true where u.worker_id = any(worker_ids) and not u.is_taken;
  with held as materialized (
    select j.id, j.locked_by, j.claim_token, exists (
        select from tidemill._unstarted u where u.claim_token = j.claim_token) as unstarted
    from tidemill._jobs j
    where j.locked_by = any(worker_ids)
      and (not if_ended or tidemill._lease_ended(j.locked_at, j.locked_by))
    -- In no order: it would cost a look at all of them for each few that are freed, and nothing waits here.
    limit most for update skip locked
  ),
  -- Whoever asked for it need not wait for an attempt.
  removed as (
    delete from tidemill._jobs j using held h
    where j.id = h.id and h.unstarted and j.withdrawn in ('replaced', 'removed')
    returning j.gate_id, j.task_id, j.run_at
  ),
  freed as (
    update tidemill._jobs j set
      attempts = case when h.unstarted and j.withdrawn is null then j.attempts - 1 else j.attempts end,
      cancelled_after = j.cancelled_after - h.unstarted::integer,
      locked_at = null, locked_by = null, claim_token = null, withdrawn = null,
      -- A named queue keeps its order. Outside of one, those that are lost again and again go apart: one of
      -- them may be what kills the workers, and it must not take the same others along each time.
      run_at = case
        when if_ended and not h.unstarted and j.queue_id is null then greatest(j.run_at, now())
          + case when j.attempts > 2 then random() * least(j.attempts, 10) else 0 end * interval '1 second'
        else j.run_at end,
      slot = case when if_ended and not h.unstarted then coalesce(j.slot, j.run_at) else j.slot end,
      updated_at = case
        when h.unstarted then j.updated_at
        when if_ended or j.attempts >= j.max_attempts then now()
        else j.updated_at end,
      last_error = case
        when h.unstarted or j.attempts < j.max_attempts or j.withdrawn = 'cancelled' then j.last_error
        else format('%s did not end: %s (worker %s)',
                    case j.withdrawn
                      when 'replaced' then 'The attempt that a newer job with its key found running'
                      when 'removed' then 'The attempt that its removal by key found running'
                      else format('Attempt %s of %s', j.attempts, j.max_attempts) end,
                    why, h.locked_by) end
    from held h
    where j.id = h.id and not (h.unstarted and coalesce(j.withdrawn, '') in ('replaced', 'removed'))
    returning h.locked_by, j.id, j.attempts >= j.max_attempts as failed, j.cancelled_after is not null as cancelled,
              j.gate_id, j.task_id, j.run_at, h.unstarted, h.claim_token
  ),
  visits as (
    insert into tidemill._visits
      select v.*
      from (select array_agg(e.gate_id) as gates, array_agg(e.task_id) as tasks, array_agg(e.run_at) as run_ats
            from (select f.gate_id, f.task_id, f.run_at from freed f union all select r.* from removed r) e
            where e.gate_id is not null having count(*) > 0) e
      cross join lateral tidemill._visits_of_ended(e.gates, e.tasks, e.run_ats) v
  )
  select array_agg(f.locked_by), array_agg(f.id), array_agg(f.failed), array_agg(f.cancelled),
         array_agg(f.unstarted), array_agg(f.claim_token), count(*)
    into holders, ids, fails, cancels, unstarteds, tokens, freed_jobs
    from freed f;
  return query select * from unnest(holders, ids, fails, cancels);
  if freed_jobs > 0 and tidemill._keeps_history() then
    perform tidemill._keep_ended(
      array_agg(
        row(j.id, case when f.cancelled then 'cancelled' when f.failed then 'failed' else 'retried' end,
            f.holder, null, null, null, null, null, case when not f.failed then 'The attempt did not end: ' || why end,
            'WorkerLost', null, null)::tidemill._ended_attempt order by f.id),
      array_agg(p.fraction::float8 order by f.id), array_agg(p.message order by f.id))
      from unnest(holders, ids, fails, cancels, unstarteds, tokens)
        f(holder, id, failed, cancelled, unstarted, token)
      join tidemill._jobs j on j.id = f.id
      -- What its worker has shown of it last, half a second before at most.
      left join tidemill._progress p on p.job_id = f.id and p.claim_token = f.token
      -- The others are as they were.
      where not f.unstarted;
  end if;
  if most is null or freed_jobs < most then
    delete from tidemill._unstarted u
      where u.is_taken and u.worker_id = any(worker_ids)
        -- A row that was locked is left for the next sweep.
        and not exists (
          select from tidemill._jobs j where j.locked_by = u.worker_id and j.claim_token = u.claim_token);
  end if;
  with held as materialized (
    select q.id from tidemill._queues q
    where q.locked_by = any(worker_ids)
      and (not if_ended or tidemill._lease_ended(q.locked_at, q.locked_by))
      -- A queue is free once all of its jobs are, or a later one of them would come first.
      and (most is null or freed_jobs < most and not exists (
        select from tidemill._jobs j where j.locked_by = q.locked_by and j.claim_token = q.claim_token))
    order by q.id for no key update skip locked
  )
  update tidemill._queues q set locked_at = null, locked_by = null, claim_token = null
    from held h where q.id = h.id;
  if freed_jobs > 0 or found then
    perform tidemill._notify_workers(now());
  end if;
end
$$;
comment on function tidemill._release_leases is
$$Frees jobs and queues of these workers.

if_ended  only leases that have ended
most      how many jobs to free; queues are freed once fewer were left. NULL: all

Jobs that had not started go back as they were. The attempt of the others is spent, and with if_ended they come
after those already due, but for jobs of named queues.$$;

create or replace function tidemill._lease_ended(locked_at timestamptz, locked_by text) returns boolean
language sql stable
as $$
  select locked_at is null or coalesce(
    (select tidemill._is_lost(w) from tidemill._workers w where w.id = locked_by),
    locked_at < clock_timestamp() - tidemill._unknown_lease())
$$;
comment on function tidemill._lease_ended is
  'Whether a row is free: without a lease, or with that of a lost worker, or an old one of an unknown worker.';

create or replace function tidemill._unknown_lease() returns interval
language sql immutable
as $$ select interval '30 seconds' $$;
comment on function tidemill._unknown_lease is
  'How long the lease of a worker without a row in _workers is respected.';

create or replace function tidemill._caution() returns interval
language sql immutable
as $$ select interval '1 minute' $$;
comment on function tidemill._caution is 'How long all workers claim by lease alone after one was lost.';

create or replace function tidemill._express_is_safe() returns boolean
language sql set search_path = pg_catalog, pg_temp
as $$
  select not exists (
    select from tidemill._workers w where w.lost_at > clock_timestamp() - tidemill._caution())
$$;
comment on function tidemill._express_is_safe is
$$Whether no worker was lost lately. A claim by row locks spends no attempt, so a job that kills its
worker would run again and again. By lease it uses up its attempts.$$;
