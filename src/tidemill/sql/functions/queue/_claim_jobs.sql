-- The lease lane's claim: jobs that were found are written to the table as this worker's.

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
  most_levels integer default null
) returns setof tidemill._claimed_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  token constant bigint := nextval('tidemill._claim_tokens');
  found tidemill._found_job[];
begin
  found := array(select f from tidemill._lock_jobs(
    identifiers, quick, false, max_jobs, forbidden_flags, mark_priorities, mark_run_ats, mark_ids,
    after_priority, most_levels) f);
  update tidemill._jobs j set
      attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = token
    from unnest(found) f where j.id = f.id;
  return query select f.*, null::bigint, null::text, token from unnest(found) f;
end
$$;
comment on function tidemill._claim_jobs is
  'Leases single jobs to a worker, and spends an attempt of each. Arguments and rows as in _lock_jobs.';

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
  most_looks integer default null
) returns setof tidemill._claimed_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  token constant bigint := nextval('tidemill._claim_tokens');
  found tidemill._claimed_job[];
begin
  found := array(select f from tidemill._lock_queued_jobs(
    identifiers, quick, false, max_jobs, forbidden_flags, after_queue, per_queue,
    after_run_at, after_id, later_first, most_looks) f);
  update tidemill._jobs j set
      attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = token
    from unnest(found) f where j.id = f.id;
  update tidemill._queues q set locked_at = now(), locked_by = worker_id, claim_token = token
    where q.id = any(array(select f.queue_id from unnest(found) f where f.id is not null));
  return query
    select f.id, f.identifier, f.payload, f.priority, f.run_at, f.attempt, f.max_attempts, f.created_at, f.key,
           f.revision, f.flags, f.queue_id, f.queue_name, case when f.id is null then f.claim_token else token end
    from unnest(found) f;
end
$$;
comment on function tidemill._claim_queued_jobs is
$$Leases named queues to a worker, with up to per_queue jobs of each, and spends an attempt of each job.

The worker runs the jobs of a queue one after the other. Arguments and rows as in _lock_queued_jobs.$$;
