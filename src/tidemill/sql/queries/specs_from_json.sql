-- Specs and modes from JSON, for the functions that add them: one array for each
-- field, in the order of the specs; a field that no spec has is NULL. Reading
-- records with json_to_recordset would take three times as long.
(
  select
    pg_catalog.array_agg(
      row(
        s.identifier, s.payload, s.queue_name,
        coalesce(s.run_at::pg_catalog.timestamptz, pg_catalog.now() operator(pg_catalog.+) s.run_in::interval),
        s.max_attempts::smallint, s.job_key, s.priority::smallint,
        case when s.flags is not null then
          (select f.flags
           from pg_catalog.json_to_record(pg_catalog.json_build_object('flags', s.flags::pg_catalog.json))
             as f(flags pg_catalog.text[]))
        end
      )::tidemill.job_spec
      order by s.place) as specs,
    pg_catalog.array_agg(s.job_key_mode order by s.place) as modes
  from rows from (
    pg_catalog.json_array_elements_text(%(identifier)s::pg_catalog.json),
    pg_catalog.json_array_elements(%(payload)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(queue_name)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(run_at)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(run_in)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(max_attempts)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(job_key)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(priority)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(flags)s::pg_catalog.json),
    pg_catalog.json_array_elements_text(%(job_key_mode)s::pg_catalog.json)
  ) with ordinality
    s(identifier, payload, queue_name, run_at, run_in, max_attempts, job_key, priority, flags, job_key_mode, place)
) given
cross join lateral
