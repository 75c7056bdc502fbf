-- The lease lane's claim: jobs that were found are written to the table as this worker's. Those that start at once
-- have one claim token. Those that are claimed ahead have others, one for each group that will be handed over together.
-- The engine, which calls this, may hold an express batch open: it must not wait for long behind a session
-- that waits for the batch. So its functions have a short lock_timeout.

create or replace function tidemill._claim_jobs(
  worker_id text,
  identifiers text[],
  quick text[],
  max_jobs integer,
  forbidden_flags text[],
  mark_priorities smallint[],
  mark_run_ats timestamptz[],
  mark_ids bigint[],
  after_priority integer default null,
  most_levels integer default null,
  start_now integer default 2147483647,
  group_size integer default 1
) returns setof tidemill._claimed_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  found tidemill._found_job[];
  tokens bigint[];
begin
  found := array(select f from tidemill._lock_jobs(
    identifiers, quick, false, max_jobs, forbidden_flags, mark_priorities, mark_run_ats, mark_ids,
    after_priority, most_levels) f);
  -- The last row is no job.
  start_now := least(start_now, cardinality(found) - 1);
  tokens := tidemill._draw_tokens(worker_id, (cardinality(found) - 1 - start_now + group_size - 1) / group_size);
  tokens := array_fill(tokens[1], array[start_now]) || array(
    select tokens[2 + (f.place - start_now - 1) / group_size]
    from generate_series(start_now + 1, cardinality(found) - 1) f(place));
  update tidemill._jobs j set
      attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = tokens[f.ordinality]
    from unnest(found) with ordinality f where j.id = f.id;
  return query
    select f.id, f.identifier, f.payload, f.priority, f.run_at, f.attempt, f.max_attempts, f.created_at, f.key,
           f.revision, f.flags, f.keep, f.trace, null::bigint, null::text, tokens[f.ordinality]
    from unnest(found) with ordinality f;
end
$$;
comment on function tidemill._claim_jobs is
$$Leases single jobs to a worker, and counts an attempt of each. Arguments and rows as in _lock_jobs.

start_now   how many start at once; the others wait until the worker calls _start_jobs
group_size  how many of those it starts together: they have one claim token$$;

create or replace function tidemill._draw_tokens(worker_id text, groups integer) returns bigint[]
language plpgsql
as $$
declare
  tokens constant bigint[] := array(
    select nextval('tidemill._claim_tokens') from generate_series(0, groups));
begin
  if groups > 0 then
    insert into tidemill._unstarted (claim_token, worker_id) select t.token, worker_id from unnest(tokens[2:]) t(token);
  end if;
  return tokens;
end
$$;
comment on function tidemill._draw_tokens is
  'Draws a claim token for jobs that start at once, and behind it one for each group of jobs that do not.';

-- Called for every few jobs: each SET clause costs more than the search for the row, so it has the one that it needs.
create or replace function tidemill._start_jobs(worker_id text, token bigint) returns boolean
language plpgsql set enable_seqscan = off
as $$
begin
  -- It matters only if the worker dies: a crash of the server may forget what is younger than a second.
  perform pg_catalog.set_config('synchronous_commit', 'off', true);
  delete from tidemill._unstarted u
    where u.claim_token operator(pg_catalog.=) token and u.worker_id operator(pg_catalog.=) _start_jobs.worker_id
      and not u.is_taken;
  return found;
end
$$;
comment on function tidemill._start_jobs is
$$Notes that the jobs of a claim that wait in the worker's hand start now, so that their attempts are spent.

False: they must not, since the lease was taken away (or it was noted before).$$;

create or replace function tidemill._claim_queued_jobs(
  worker_id text,
  identifiers text[],
  quick text[],
  max_jobs integer,
  forbidden_flags text[],
  after_queue bigint,
  per_queue integer,
  after_run_at timestamptz default null,
  after_id bigint default 0,
  later_first boolean default false,
  most_looks integer default null,
  start_now integer default 2147483647,
  group_size integer default 1
) returns setof tidemill._claimed_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  found tidemill._claimed_job[];
  queue_ids bigint[];
  counts integer[];
  tokens bigint[];
  -- Which token each queue has, and each job.
  queue_nrs integer[] := '{}';
  nrs integer[] := '{}';
  nr integer := 1;
  room integer := start_now;
begin
  found := array(select f from tidemill._lock_queued_jobs(
    identifiers, quick, false, max_jobs, forbidden_flags, after_queue, per_queue,
    after_run_at, after_id, later_first, most_looks) f);
  select array_agg(c.queue_id), array_agg(c.jobs) into queue_ids, counts
    from (select f.queue_id, count(*)::integer as jobs from unnest(found) with ordinality f
          where f.id is not null group by f.queue_id order by min(f.ordinality)) c;
  for place in 1 .. coalesce(cardinality(counts), 0) loop
    -- The jobs of one queue stay together: they run one after the other.
    if counts[place] > room and (place > 1 or start_now = 0) then
      nr := nr + 1;
      room := group_size;
    end if;
    room := room - counts[place];
    queue_nrs := queue_nrs || nr;
    nrs := nrs || array_fill(nr, array[counts[place]]);
  end loop;
  tokens := tidemill._draw_tokens(worker_id, nr - 1);
  update tidemill._jobs j set
      attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = tokens[nrs[f.ordinality]]
    from unnest(found) with ordinality f where j.id = f.id;
  update tidemill._queues q set locked_at = now(), locked_by = worker_id, claim_token = tokens[f.nr]
    from unnest(queue_ids, queue_nrs) f(id, nr) where q.id = f.id;
  return query
    select f.id, f.identifier, f.payload, f.priority, f.run_at, f.attempt, f.max_attempts, f.created_at, f.key,
           f.revision, f.flags, f.keep, f.trace, f.queue_id, f.queue_name,
           case when f.id is null then f.claim_token else tokens[nrs[f.ordinality]] end
    from unnest(found) with ordinality f;
end
$$;
comment on function tidemill._claim_queued_jobs is
$$Leases named queues to a worker, with up to per_queue jobs of each, and counts an attempt of each job.

The worker runs the jobs of a queue one after the other. Arguments and rows as in _lock_queued_jobs; start_now and
group_size as in _claim_jobs, and the jobs of a queue are in one group.$$;

-- In PL/pgSQL for its kept plan, and so that the table is locked only after the claim has locked it. Volatile, so that
-- it sees what the claim has seen: the job may have failed after the statement began.
create or replace function tidemill._slot_of_job(job_id bigint) returns timestamptz
language plpgsql
as $$
begin
  return (select j.slot from tidemill._jobs j where j.id operator(pg_catalog.=) job_id);
end
$$;
comment on function tidemill._slot_of_job is 'The slot of a job that was tried before; NULL: its run_at.';
