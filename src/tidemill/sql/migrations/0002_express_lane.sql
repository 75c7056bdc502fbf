-- breaking: workers from before it call functions that are gone.
-- What the express lane needs: jobs that are claimed by row locks, without a write.

create type tidemill._found_job as (
  id bigint,
  identifier text,
  payload text,
  priority smallint,
  run_at timestamptz,
  attempt smallint,
  max_attempts smallint,
  created_at timestamptz,
  key text,
  revision integer,
  flags text[]
);
comment on type tidemill._found_job is
  'A job that was found and locked. A search ends with a row without id, whose run_at is the time up to which was looked.';

create type tidemill._claimed_job as (
  id bigint,
  identifier text,
  payload text,
  priority smallint,
  run_at timestamptz,
  attempt smallint,
  max_attempts smallint,
  created_at timestamptz,
  key text,
  revision integer,
  flags text[],
  queue_id bigint,
  queue_name text,
  claim_token bigint
);
comment on type tidemill._claimed_job is 'A job in a worker''s hand; the last row of a claim is as that of _found_job.';

alter table tidemill._workers add backend_pid integer;
alter table tidemill._workers add lost_at timestamptz;
comment on column tidemill._workers.backend_pid is 'The server process of the heartbeat''s connection.';
comment on column tidemill._workers.lost_at is
  'When the worker was found to be gone. For a minute from then on, all workers claim by lease alone.';

drop function if exists tidemill._claim_jobs(text, text[], integer, text[], boolean, bigint, integer);
