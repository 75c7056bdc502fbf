-- Specs and modes from JSON, for the functions that add them: one array for each
-- field, in the order of the specs; a field that no spec has is NULL. Reading
-- records with json_to_recordset would take three times as long.
(
  select
    array_agg(
      row(
        s.identifier, s.payload, s.queue_name, coalesce(s.run_at::timestamptz, now() + s.run_in::interval),
        s.max_attempts::smallint, s.job_key, s.priority::smallint,
        case when s.flags is not null then
          (select f.flags from json_to_record(json_build_object('flags', s.flags::json)) as f(flags text[]))
        end
      )::tidemill.job_spec
      order by s.place) as specs,
    array_agg(s.job_key_mode order by s.place) as modes
  from rows from (
    json_array_elements_text(%(identifier)s::json),
    json_array_elements(%(payload)s::json),
    json_array_elements_text(%(queue_name)s::json),
    json_array_elements_text(%(run_at)s::json),
    json_array_elements_text(%(run_in)s::json),
    json_array_elements_text(%(max_attempts)s::json),
    json_array_elements_text(%(job_key)s::json),
    json_array_elements_text(%(priority)s::json),
    json_array_elements_text(%(flags)s::json),
    json_array_elements_text(%(job_key_mode)s::json)
  ) with ordinality
    s(identifier, payload, queue_name, run_at, run_in, max_attempts, job_key, priority, flags, job_key_mode, place)
) given
cross join lateral
