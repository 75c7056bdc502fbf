create or replace function tidemill._add_keyed_job(new tidemill._jobs, mode text) returns tidemill._jobs
language plpgsql
as $$
declare
  j tidemill._jobs;
begin
  -- Another transaction may add or remove the key between two of our statements: then start again.
  loop
    -- The usual case first: the job waits, and one statement changes it.
    if mode <> 'unsafe_dedupe' then
      update tidemill._jobs o set
          task_id = new.task_id, queue_id = new.queue_id, max_attempts = new.max_attempts,
          priority = new.priority, flags = new.flags, attempts = 0, last_error = null,
          payload = tidemill._merged_payload(o.payload, new.payload),
          run_at = case when mode = 'preserve_run_at' and o.attempts = 0 then o.run_at else new.run_at end,
          slot = null, keep = new.keep, trace = new.trace, gate_id = new.gate_id, revision = o.revision + 1,
          updated_at = now()
        where o.key = new.key and o.locked_at is null and o.attempts < o.max_attempts
        returning o.* into j;
      if found then
        return j;
      end if;
    end if;

    select * into j from tidemill._jobs o where o.key = new.key for update;
    if found then
      if mode = 'unsafe_dedupe' then
        update tidemill._jobs o set revision = o.revision + 1, updated_at = now()
          where o.id = j.id returning o.* into j;
        return j;
      end if;
      continue when j.locked_at is null and j.attempts < j.max_attempts;
      -- The job is running or failed for good: it keeps its row, loses its key, and is not retried.
      update tidemill._jobs o set
          key = null, attempts = o.max_attempts, updated_at = now(),
          withdrawn = case when o.locked_at is not null then coalesce(o.withdrawn, 'replaced') end
        where o.id = j.id;
    end if;

    insert into tidemill._jobs as i
        (id, queue_id, task_id, priority, max_attempts, run_at, key, payload, flags, keep, trace, gate_id)
      overriding system value
      values (coalesce(new.id, nextval('tidemill._jobs_id_seq')), new.queue_id, new.task_id, new.priority,
              new.max_attempts, new.run_at, new.key, new.payload, new.flags, new.keep, new.trace, new.gate_id)
      on conflict (key) where key is not null do nothing
      returning i.* into j;
    if found then
      return j;
    end if;
  end loop;
end
$$;
comment on function tidemill._add_keyed_job is
  'Adds or changes the job of a key. Waits for a transaction that holds its row, so that no request is lost.';

-- In PL/pgSQL for its kept plans: see _job_row.
create or replace function tidemill._merged_payload(old json, new json) returns json
language plpgsql immutable
as $$
begin
  if json_typeof(old) = 'array' and json_typeof(new) = 'array' then
    return coalesce(
      (select json_agg(e.value order by e.part, e.place)
       from (select 1 as part, o.value, o.place from json_array_elements(old) with ordinality o(value, place)
             union all
             select 2, n.value, n.place from json_array_elements(new) with ordinality n(value, place)) e),
      '[]');
  end if;
  return new;
end
$$;
comment on function tidemill._merged_payload is
  'Joins two arrays, their elements unchanged; otherwise returns the new payload.';
