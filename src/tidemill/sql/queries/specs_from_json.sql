-- Specs and modes from JSON, for the functions that add them.
(
  select
    array_agg(
      row(
        s.identifier, s.payload, s.queue_name, coalesce(s.run_at, now() + s.run_in),
        s.max_attempts, s.job_key, s.priority, s.flags
      )::tidemill.job_spec
      order by s.place) as specs,
    array_agg(s.job_key_mode order by s.place) as modes
  from rows from (
    json_to_recordset(%(specs)s) as (
      identifier text, payload json, queue_name text, run_at timestamptz, run_in interval,
      max_attempts smallint, job_key text, priority smallint, flags text[], job_key_mode text)
  ) with ordinality
    s(identifier, payload, queue_name, run_at, run_in, max_attempts, job_key, priority, flags, job_key_mode, place)
) given
cross join lateral
