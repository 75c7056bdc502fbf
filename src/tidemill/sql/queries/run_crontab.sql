-- Adds the jobs of crontab items that are due: one array for each field.
select a.identifier, a.minute, a.job_id
from tidemill._run_crontab(
  %(identifiers)s::text[],
  array(
    select row(s.task, s.payload::json, s.queue_name, s.minute, s.max_attempts::smallint, s.job_key,
               s.priority::smallint, null)::tidemill.job_spec
    from unnest(
      %(tasks)s::text[],
      %(payloads)s::text[],
      %(queue_names)s::text[],
      %(minutes)s::timestamptz[],
      %(max_attempts)s::integer[],
      %(job_keys)s::text[],
      %(priorities)s::integer[]
    ) with ordinality s(task, payload, queue_name, minute, max_attempts, job_key, priority, place)
    order by s.place
  ),
  %(job_key_modes)s::text[]
) a
