-- The lease lane's claim. Hot: its plans are pinned by tests, and the planner
-- may not weigh statistics, which are wrong whenever a bulk load has just ended.

create or replace function tidemill._claim_jobs(
  worker_id text,
  identifiers text[],
  max_jobs integer,
  forbidden_flags text[],
  queues_first boolean,
  after_queue bigint,
  per_queue integer
) returns table (
  id bigint, identifier text, queue_id bigint, queue_name text, payload text, priority smallint,
  run_at timestamptz, attempts smallint, max_attempts smallint, created_at timestamptz,
  key text, revision integer, flags text[], claim_token bigint
)
language plpgsql set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  token constant bigint := nextval('tidemill._claim_tokens');
  -- Python has no earlier times, and one job due at -infinity must not stop a worker.
  year_one constant timestamptz := '0001-01-02 00:00+00';
  -- Looked up each time: numbers that a worker remembered may mean other tasks after a restore.
  task_ids constant integer[] := array(select t.id from tidemill._tasks t where t.identifier = any(identifiers));
  wanted integer := max_jobs;
  taken integer;
begin
  for pass in 1..2 loop
    if (pass = 1) = queues_first then
      return query
        with recursive heads(queue_id) as (
          (select j.queue_id from tidemill._jobs j
           where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
             and j.queue_id > after_queue
           order by j.queue_id limit 1)
          union all
          select (select j.queue_id from tidemill._jobs j
                  where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
                    and j.queue_id > h.queue_id
                  order by j.queue_id limit 1)
          from heads h where h.queue_id is not null
        ),
        free as materialized (
          -- Lateral, for the rotation: a join may take the heads in any order.
          select f.id, f.queue_name
          from heads h
          cross join lateral (
            select q.id, q.queue_name
            from tidemill._queues q
            where q.id = h.queue_id and q.locked_at is null
              and exists (
                select from tidemill._jobs j
                where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                  and j.run_at <= now() and j.task_id = any(task_ids)
                  and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags))
            for no key update of q skip locked
          ) f
          limit wanted
        ),
        picked as materialized (
          select r.id, f.queue_name
          from free f
          cross join lateral (
            select j.id
            from tidemill._jobs j
            where j.queue_id = f.id and j.locked_at is null and j.attempts < j.max_attempts
              and j.run_at <= now() and j.task_id = any(task_ids)
              and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
            order by j.priority, j.run_at, j.id
            limit per_queue
            for update of j skip locked
          ) r
        ),
        leased as (
          update tidemill._jobs j set
            attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = token
          from picked p where j.id = p.id
          returning j.*, p.queue_name
        ),
        held as (
          update tidemill._queues q set locked_at = now(), locked_by = worker_id, claim_token = token
          where q.id = any(array(select l.queue_id from leased l))
        )
        select l.id, (select t.identifier from tidemill._tasks t where t.id = l.task_id), l.queue_id, l.queue_name, l.payload::text, l.priority,
               greatest(l.run_at, year_one), l.attempts, l.max_attempts, l.created_at, l.key, l.revision,
               l.flags, l.claim_token
        from leased l;
    else
      return query
        -- One level for each priority in use: rows due later at an urgent one are jumped over.
        with recursive levels(priority) as (
          (select j.priority from tidemill._jobs j
           where j.queue_id is null and j.locked_at is null and j.attempts < j.max_attempts
           order by j.priority limit 1)
          union all
          select (select j.priority from tidemill._jobs j
                  where j.queue_id is null and j.locked_at is null and j.attempts < j.max_attempts
                    and j.priority > l.priority
                  order by j.priority limit 1)
          from levels l where l.priority is not null
        ),
        picked as materialized (
          select r.id
          from levels l
          cross join lateral (
            select j.id
            from tidemill._jobs j
            where j.queue_id is null and j.locked_at is null and j.attempts < j.max_attempts
              and j.priority = l.priority and j.run_at <= now() and j.task_id = any(task_ids)
              and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
            order by j.run_at, j.id
            limit wanted
            for update of j skip locked
          ) r
          limit wanted
        )
        update tidemill._jobs j set
          attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = token
        from picked p where j.id = p.id
        returning j.id, (select t.identifier from tidemill._tasks t where t.id = j.task_id), j.queue_id, null::text, j.payload::text, j.priority,
                  greatest(j.run_at, year_one), j.attempts, j.max_attempts, j.created_at, j.key, j.revision,
                  j.flags, j.claim_token;
    end if;
    get diagnostics taken = row_count;
    wanted := wanted - taken;
    exit when wanted <= 0;
  end loop;
end
$$;
comment on function tidemill._claim_jobs is
$$Leases due jobs of these tasks to a worker, most urgent first, and spends an attempt of each.

A named queue is leased as a whole, with up to per_queue of its jobs, which the
worker runs one after the other; queues are looked at in rotation, after after_queue.$$;
