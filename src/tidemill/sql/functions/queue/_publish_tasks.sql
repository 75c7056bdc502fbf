-- What is known of tasks beside their names: workers tell it when they start.

create or replace function tidemill._publish_tasks(tasks json) returns void
language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
  insert into tidemill._task_specs as s (identifier, payload_schema, options, summary)
    select t.identifier, t.payload_schema, t.options, t.summary
    from json_to_recordset(tasks) t (identifier text, payload_schema jsonb, options jsonb, summary text)
    -- A start of a worker that has nothing new to tell writes nothing.
    where not exists (
      select from tidemill._task_specs k
      where k.identifier = t.identifier and k.options = t.options
        and k.payload_schema is not distinct from t.payload_schema and k.summary is not distinct from t.summary)
    order by t.identifier
  on conflict (identifier) do update set
    payload_schema = excluded.payload_schema, options = excluded.options, summary = excluded.summary,
    changed_at = now(), seen_at = now()
$$;
comment on function tidemill._publish_tasks is
  'Writes the payload schemas and options of a worker''s tasks where they differ from what is there.';

create or replace function tidemill._note_seen_tasks() returns void
language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
  with seen as (
    select s.identifier from tidemill._task_specs s
    where s.seen_at < now() - interval '1 hour' and s.identifier in (
      select unnest(w.identifiers) from tidemill._workers w where w.expires_at > now())
    order by s.identifier
    -- Another worker may be at it.
    for update skip locked)
  update tidemill._task_specs s set seen_at = now() from seen where s.identifier = seen.identifier
$$;
comment on function tidemill._note_seen_tasks is
  'Notes once an hour that live workers know these tasks, for the time when none does.';
