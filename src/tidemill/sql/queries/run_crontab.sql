-- Adds the jobs of crontab items that are due: one array for each field.
select a.identifier, a.minute, a.job_id
from tidemill._run_crontab(
  %(identifiers)s::pg_catalog.text[],
  array(
    select row(s.task, s.payload::pg_catalog.json, s.queue_name, s.minute, s.max_attempts::smallint, s.job_key,
               s.priority::smallint, null)::tidemill.job_spec
    from pg_catalog.unnest(
      %(tasks)s::pg_catalog.text[],
      %(payloads)s::pg_catalog.text[],
      %(queue_names)s::pg_catalog.text[],
      %(minutes)s::pg_catalog.timestamptz[],
      %(max_attempts)s::integer[],
      %(job_keys)s::pg_catalog.text[],
      %(priorities)s::integer[]
    ) with ordinality s(task, payload, queue_name, minute, max_attempts, job_key, priority, place)
    order by s.place
  ),
  %(job_key_modes)s::pg_catalog.text[]
) a
