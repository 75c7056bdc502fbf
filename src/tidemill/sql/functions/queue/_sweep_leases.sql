-- When a lease has ended, and how the leases of dead workers are freed.

create or replace function tidemill._sweep_leases()
returns table (worker_id text, id bigint, failed boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  dead text[];
begin
  update tidemill._workers w set lost_at = clock_timestamp()
    where w.lost_at is null
      and (w.expires_at <= clock_timestamp()
        -- The statistics are the cluster's: in a restored copy the process is one of the original.
        or not exists (
          select from pg_stat_activity a where a.pid = w.backend_pid and a.datname = current_database()));

  with recursive holders(id) as (
    (select min(j.locked_by) from tidemill._jobs j)
    union all
    select (select min(j.locked_by) from tidemill._jobs j where j.locked_by > h.id)
    from holders h where h.id is not null
  ),
  suspects as (
    select h.id from holders h where h.id is not null
    union
    select q.locked_by from tidemill._queues q where q.locked_by is not null
    union
    select w.id from tidemill._workers w
  )
  select array_agg(s.id) into dead from suspects s
  -- Only workers that are marked as lost, so that the next heartbeat of one finds out.
  where not exists (
    select from tidemill._workers w
    where w.id = s.id and (w.lost_at is null or w.expires_at > clock_timestamp()));

  return query select * from tidemill._release_leases(
    coalesce(dead, '{}'), true, 'its worker stopped without a word: killed, crashed, or cut off from the database');
  delete from tidemill._workers w
    where w.id = any(dead) and w.lost_at <= clock_timestamp() - tidemill._caution()
      and not exists (select from tidemill._jobs j where j.locked_by = w.id);
  delete from tidemill._listeners l
    where not exists (select from tidemill._workers w where w.id = l.worker_id);
end
$$;
comment on function tidemill._sweep_leases is
$$Frees jobs and queues of dead workers. Of jobs that may have started the attempt stays spent, and one on its last
attempt fails with a message; the others go back as they were.

Marks workers as lost that missed their deadline, or whose heartbeat's connection is gone, which
shows at once. Lost workers stay listed for a minute.$$;

create or replace function tidemill._release_leases(worker_ids text[], if_ended boolean, why text)
returns table (worker_id text, id bigint, failed boolean)
language plpgsql
as $$
#variable_conflict use_column
declare
  freed_any boolean;
begin
  if worker_ids = '{}' then
    return;
  end if;
  -- From here on the worker, should it still be there, can start none of these.
  update tidemill._unstarted u set is_taken = true where u.worker_id = any(worker_ids) and not u.is_taken;
  return query
    with held as materialized (
      select j.id, j.locked_by, exists (
          select from tidemill._unstarted u where u.claim_token = j.claim_token) as unstarted
      from tidemill._jobs j
      where j.locked_by = any(worker_ids)
        and (not if_ended or tidemill._lease_ended(j.locked_at, j.locked_by))
      order by j.id for update skip locked
    ),
    -- Whoever asked for it need not wait for an attempt.
    removed as (
      delete from tidemill._jobs j using held h
      where j.id = h.id and h.unstarted and j.withdrawn in ('replaced', 'removed')
    ),
    freed as (
      update tidemill._jobs j set
        attempts = case when h.unstarted and j.withdrawn is null then j.attempts - 1 else j.attempts end,
        cancelled_after = j.cancelled_after - h.unstarted::integer,
        locked_at = null, locked_by = null, claim_token = null, withdrawn = null,
        run_at = case when if_ended and not h.unstarted then greatest(j.run_at, now()) else j.run_at end,
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
      returning h.locked_by, j.id, j.attempts >= j.max_attempts
    )
    select * from freed;
  freed_any := found;
  delete from tidemill._unstarted u
    where u.is_taken and u.worker_id = any(worker_ids)
      -- A row that was locked is left for the next sweep.
      and not exists (
        select from tidemill._jobs j where j.locked_by = u.worker_id and j.claim_token = u.claim_token);
  with held as materialized (
    select q.id from tidemill._queues q
    where q.locked_by = any(worker_ids)
      and (not if_ended or tidemill._lease_ended(q.locked_at, q.locked_by))
    order by q.id for no key update
  )
  update tidemill._queues q set locked_at = null, locked_by = null, claim_token = null
    from held h where q.id = h.id;
  if freed_any or found then
    perform tidemill._notify_workers(now());
  end if;
end
$$;
comment on function tidemill._release_leases is
$$Frees jobs and queues of these workers. if_ended: only leases that have ended.

Jobs that had not started go back as they were. The attempt of the others is spent, and with if_ended they come
after those already due.$$;

create or replace function tidemill._lease_ended(locked_at timestamptz, locked_by text) returns boolean
language sql stable
as $$
  select locked_at is null
    or not exists (
      select from tidemill._workers w where w.id = locked_by and w.expires_at > clock_timestamp())
    and (exists (select from tidemill._workers w where w.id = locked_by)
      or locked_at < clock_timestamp() - tidemill._unknown_lease())
$$;
comment on function tidemill._lease_ended is
  'Whether a row is free: without a lease, or with that of a worker that missed its deadline, or an old one of an unknown worker.';

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
