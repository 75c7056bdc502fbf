-- Workers, their heartbeats, and what happens to the leases of the dead.

create or replace function tidemill._register_worker(
  worker_id text, hostname text, pid integer, version text, concurrency integer,
  identifiers text[], lease interval
) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at)
    values (worker_id, hostname, pid, version, concurrency,
            array(select distinct i from unnest(identifiers) i order by 1), clock_timestamp() + lease)
    on conflict (id) do update set
      identifiers = excluded.identifiers, heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at
$$;

create or replace function tidemill._heartbeat(worker_id text, lease interval, in_hand integer, stopping boolean)
returns table (alive boolean, cancelled bigint[])
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  update tidemill._workers w set
      heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + lease,
      in_hand = _heartbeat.in_hand, stopping = _heartbeat.stopping
    where w.id = worker_id;
  alive := found;
  select array_agg(j.id) into cancelled from tidemill._jobs j
    where j.locked_by = worker_id and j.withdrawn = 'cancelled';
  -- Comes back through the worker's own LISTEN connection: proof that it still hears.
  perform pg_notify('tidemill:ping', worker_id);
  return next;
end
$$;

create or replace function tidemill._sweep_leases()
returns table (worker_id text, id bigint, failed boolean)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  dead text[];
begin
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
  where not exists (select from tidemill._workers w where w.id = s.id and w.expires_at > clock_timestamp());

  return query select * from tidemill._release_leases(
    coalesce(dead, '{}'), true, 'its worker stopped without a word: killed, crashed, or cut off from the database');
  delete from tidemill._workers w
    where w.id = any(dead) and w.expires_at <= clock_timestamp()
      and not exists (select from tidemill._jobs j where j.locked_by = w.id);
  delete from tidemill._listeners l
    where not exists (select from tidemill._workers w where w.id = l.worker_id);
end
$$;
comment on function tidemill._sweep_leases is
  'Frees what dead workers hold; attempts stay spent, and a job on its last one is failed with a message.';

create or replace function tidemill._release_leases(worker_ids text[], if_ended boolean, why text)
returns table (worker_id text, id bigint, failed boolean)
language plpgsql
as $$
#variable_conflict use_column
begin
  if worker_ids = '{}' then
    return;
  end if;
  return query
    with held as materialized (
      select j.id, j.locked_by from tidemill._jobs j
      where j.locked_by = any(worker_ids)
        and (not if_ended or tidemill._lease_ended(j.locked_at, j.locked_by))
      order by j.id for update skip locked
    ),
    freed as (
      update tidemill._jobs j set
        locked_at = null, locked_by = null, claim_token = null, withdrawn = null,
        run_at = case when if_ended then greatest(j.run_at, now()) else j.run_at end,
        last_error = case
          when j.attempts < j.max_attempts or j.withdrawn = 'cancelled' then j.last_error
          else format('%s did not end: %s (worker %s)',
                      case j.withdrawn
                        when 'replaced' then 'The attempt that a newer job with its key found running'
                        when 'removed' then 'The attempt that its removal by key found running'
                        else format('Attempt %s of %s', j.attempts, j.max_attempts) end,
                      why, h.locked_by) end
      from held h where j.id = h.id
      returning h.locked_by, j.id, j.attempts >= j.max_attempts
    )
    select * from freed;
  with held as materialized (
    select q.id from tidemill._queues q
    where q.locked_by = any(worker_ids)
      and (not if_ended or tidemill._lease_ended(q.locked_at, q.locked_by))
    order by q.id for no key update
  )
  update tidemill._queues q set locked_at = null, locked_by = null, claim_token = null
    from held h where q.id = h.id;
  perform tidemill._notify_workers(now());
end
$$;
comment on function tidemill._release_leases is
  'Frees what these workers hold; if_ended: only leases that have run out, whose jobs then go behind those due before.';

create or replace function tidemill._deregister_worker(worker_id text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  if exists (select from tidemill._jobs j where j.locked_by = worker_id)
    or exists (select from tidemill._queues q where q.locked_by = worker_id)
  then
    -- What it could not settle is for the next sweep.
    update tidemill._workers w set expires_at = clock_timestamp() where w.id = worker_id;
  else
    delete from tidemill._workers w where w.id = worker_id;
  end if;
end
$$;
