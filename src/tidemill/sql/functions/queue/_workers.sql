-- A worker's row, from its registration to its end.

create or replace function tidemill._register_worker(
  worker_id text, hostname text, pid integer, version text, concurrency integer,
  identifiers text[], lease interval
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  -- The owner's hands and tests may use other names: no session is ended by these.
  if not tidemill._is_worker_id(worker_id)
    and not pg_has_role((select n.nspowner from pg_namespace n where n.nspname = 'tidemill'), 'member')
  then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('"%s" is no worker''s id', left(worker_id, 128)),
      hint = 'It is worker- and 16 hexadecimal digits.';
  end if;
  insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at, backend_pid)
    values (worker_id, hostname, pid, version, concurrency,
            array(select distinct i from unnest(identifiers) i order by 1), clock_timestamp() + lease,
            pg_backend_pid())
    on conflict on constraint _workers_pkey do update set
      identifiers = excluded.identifiers, heartbeat_at = excluded.heartbeat_at,
      expires_at = excluded.expires_at, backend_pid = excluded.backend_pid,
      lost_at = null, suspected_at = null, is_freed = false;
end
$$;

create or replace function tidemill._is_worker_id(id text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select coalesce(id ~ '^worker-[0-9a-f]{16}$', false) $$;
comment on function tidemill._is_worker_id is
  'Whether a text has the form of what workers call themselves and their sessions.';

create or replace function tidemill._heartbeat(
  worker_id text, lease interval, in_hand integer, stopping boolean, with_cancelled boolean default true
) returns table (alive boolean, cancelled bigint[])
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  update tidemill._workers w set
      heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + lease,
      in_hand = _heartbeat.in_hand, stopping = _heartbeat.stopping,
      backend_pid = pg_backend_pid(), lost_at = null, suspected_at = null
    -- If it is lost, a sweep has freed its jobs, or may do so.
    where w.id = worker_id and not tidemill._is_lost(w);
  alive := found;
  if with_cancelled then
    select array_agg(j.id) into cancelled from tidemill._jobs j
      where j.locked_by = worker_id and j.withdrawn = 'cancelled';
  end if;
  -- The worker's own LISTEN connection receives this, which proves that it works.
  perform pg_notify('tidemill:ping', worker_id);
  return next;
end
$$;
comment on function tidemill._heartbeat is
$$Moves a worker's deadline. alive: false if it is lost: then it must register again.

with_cancelled  false: does not ask for cancelled jobs, and so waits for nobody who locks the table of jobs.
                Workers of older versions ask with the heartbeat$$;

create or replace function tidemill._cancelled_jobs(worker_id text)
returns table (id bigint, reason text)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
#variable_conflict use_column
begin
  return query select j.id, coalesce(j.last_error, 'Cancelled') from tidemill._jobs j
    where j.locked_by = worker_id and j.withdrawn = 'cancelled';
end
$$;
comment on function tidemill._cancelled_jobs is
$$Running jobs of a worker that somebody has cancelled, with the reason.

Waits for a lock on the table of jobs for 0.1 seconds at most, then fails with 55P03: heartbeats come after it.$$;

create or replace function tidemill._declare_listener(worker_id text, listens boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
#variable_conflict use_column
begin
  if listens then
    insert into tidemill._listeners values (worker_id) on conflict do nothing;
  else
    delete from tidemill._listeners l where l.worker_id = _declare_listener.worker_id;
  end if;
end
$$;
comment on function tidemill._declare_listener is
  'Whether producers have to notify this worker of jobs, since it waits for them.';

create or replace function tidemill._deregister_worker(worker_id text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  if exists (select from tidemill._jobs j where j.locked_by = worker_id)
    or exists (select from tidemill._queues q where q.locked_by = worker_id)
  then
    -- The next sweep frees jobs and queues that it could not settle.
    update tidemill._workers w set expires_at = clock_timestamp(), suspected_at = w.heartbeat_at where w.id = worker_id;
  else
    -- A crash of the server may have brought some back: see _start_jobs.
    delete from tidemill._unstarted u where u.worker_id = _deregister_worker.worker_id;
    delete from tidemill._workers w where w.id = worker_id;
  end if;
end
$$;
