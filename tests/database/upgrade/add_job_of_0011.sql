-- The signatures of version 0.1 with migration 0011.
create function tidemill.add_job(
  identifier text, payload json default null, queue_name text default null, run_at timestamptz default null,
  max_attempts integer default null, job_key text default null, priority integer default null,
  flags text[] default null, job_key_mode text default 'replace'
) returns tidemill.job language plpgsql as $$ begin return null; end $$;
create function tidemill.add_jobs(
  specs tidemill.job_spec[], job_key_preserve_run_at boolean default false, job_key_mode text default null
) returns setof tidemill.job language plpgsql as $$ begin return; end $$;
