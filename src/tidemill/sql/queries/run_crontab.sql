-- Adds the jobs of crontab items that are due: one array for each field. Those with NULLs are binary, since with
-- array_nulls = off a NULL in the text of an array is a word.
select a.identifier, a.minute, a.job_id
from tidemill._run_crontab(
  %(identifiers)s::pg_catalog.text[],
  array(
    select row(s.task, s.payload::pg_catalog.json, s.queue_name, s.minute, s.max_attempts::smallint, s.job_key,
               s.priority::smallint, null)::tidemill.job_spec
    from rows from (
      pg_catalog.unnest(%(tasks)s::pg_catalog.text[]),
      pg_catalog.unnest(%(payloads)b::pg_catalog.text[]),
      pg_catalog.unnest(%(queue_names)b::pg_catalog.text[]),
      pg_catalog.unnest(%(minutes)s::pg_catalog.timestamptz[]),
      pg_catalog.unnest(%(max_attempts)b::integer[]),
      pg_catalog.unnest(%(job_keys)b::pg_catalog.text[]),
      pg_catalog.unnest(%(priorities)b::integer[])
    ) with ordinality s(task, payload, queue_name, minute, max_attempts, job_key, priority, place)
    order by s.place
  ),
  %(job_key_modes)b::pg_catalog.text[]
) a
