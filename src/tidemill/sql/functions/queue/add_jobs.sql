create or replace function tidemill.add_jobs(
  specs tidemill.job_spec[],
  job_key_preserve_run_at boolean default false,
  job_key_mode text default null,
  keep text default null,
  limit_names text[] default null,
  trace text default null
) returns setof tidemill.job
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  modes text[] := array_fill(
    coalesce(job_key_mode, case when job_key_preserve_run_at then 'preserve_run_at' else 'replace' end),
    array[coalesce(cardinality(specs), 0)]);
  seen record := tidemill._check_specs(specs, modes, limit_names);
  kept constant smallint := tidemill._keep_of(keep);
  traced constant text := tidemill._checked_trace(trace);
begin
  if seen.keyed or seen.limited then
    return query select * from tidemill._add_keyed_jobs(
      specs, modes, seen.limited, seen.limit_ids, array_fill(kept, array[cardinality(specs)]),
      array_fill(traced, array[cardinality(specs)]));
  elsif seen.task_id is not null then
    -- Straight from the INSERT: a join to the names would cost a quarter more.
    return query
      insert into tidemill._jobs as i (task_id, priority, max_attempts, run_at, payload, flags, keep, trace)
        select seen.task_id, coalesce(s.priority, 0), coalesce(s.max_attempts, 25),
               coalesce(s.run_at, now()), coalesce(s.payload, '{}'), tidemill._normal_flags(s.flags), kept, traced
        from unnest(specs) s
        returning (tidemill._job_row(i, seen.identifier, null)).*;
  else
    return query
      with added as (
        insert into tidemill._jobs as i
            (queue_id, task_id, priority, max_attempts, run_at, payload, flags, keep, trace)
          select q.id, t.id, coalesce(s.priority, 0), coalesce(s.max_attempts, 25),
                 coalesce(s.run_at, now()), coalesce(s.payload, '{}'), tidemill._normal_flags(s.flags), kept, traced
          from unnest(specs) with ordinality
            s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
          join tidemill._tasks t on t.identifier = s.identifier
          left join tidemill._queues q on q.queue_name = s.queue_name
          order by s.place
          returning i.*
      )
      select (tidemill._job_row(a, t.identifier, q.queue_name)).*
      from added a
      join tidemill._tasks t on t.id = a.task_id
      left join tidemill._queues q on q.id = a.queue_id
      order by a.id;
  end if;
end
$$;
comment on function tidemill.add_jobs is
$$Adds many jobs in one call, in the caller's transaction, and returns them in the order of the specs.

specs                    array of tidemill.job_spec
job_key_preserve_run_at  true: like job_key_mode preserve_run_at
job_key_mode             replace (default), preserve_run_at or unsafe_dedupe, for all specs
keep, trace              as for add_job, for all specs
limit_names              the limit of each spec, in their order; NULL: that of its task

Specs that share a job_key act as if they were added one after the other; each
of them returns the job as it is in the end. A spec that is refused refuses the
whole call and is named by its number. Errors as for add_job.$$;

create or replace function tidemill._add_jobs(
  specs tidemill.job_spec[], job_key_modes text[], limit_names text[] default null, keeps text[] default null,
  traces text[] default null
) returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  seen constant record := tidemill._check_specs(specs, job_key_modes, limit_names);
begin
  return query select * from tidemill._add_keyed_jobs(
    specs, job_key_modes, seen.limited, seen.limit_ids,
    array(select tidemill._keep_of(k.keep) from unnest(keeps) with ordinality k(keep, n) order by n),
    array(select tidemill._checked_trace(t.trace) from unnest(traces) with ordinality t(trace, n) order by n));
end
$$;
comment on function tidemill._add_jobs is
  'add_jobs with what it takes once for each spec; a NULL mode means replace.';

create or replace function tidemill._add_keyed_jobs(
  specs tidemill.job_spec[], job_key_modes text[], limited boolean, limit_ids integer[], keeps smallint[], traces text[]
) returns setof tidemill.job
language plpgsql
as $$
declare
  ids bigint[];
  spec record;
  new tidemill._jobs;
begin
  -- Each spec draws its id first, so that ids follow the order of the specs. Rows are
  -- locked in the order of their keys, so that two callers cannot deadlock.
  select array_agg(nextval('tidemill._jobs_id_seq') order by n)
    into ids from generate_series(1, cardinality(specs)) n;

  insert into tidemill._jobs as i
      (id, queue_id, task_id, priority, max_attempts, run_at, payload, flags, keep, trace, gate_id)
    overriding system value
    select ids[s.place], q.id, t.id, coalesce(s.priority, 0), coalesce(s.max_attempts, 25),
           coalesce(s.run_at, now()), coalesce(s.payload, '{}'), tidemill._normal_flags(s.flags),
           keeps[s.place], traces[s.place],
           case when coalesce(t.limit_id, limit_ids[s.place]) is not null then
             tidemill._gate_id(t.limit_id, limit_ids[s.place], s.identifier, s.queue_name, coalesce(s.payload, '{}'),
                               format(' (spec %s)', s.place)) end
    from unnest(specs) with ordinality
      s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
    join tidemill._tasks t on t.identifier = s.identifier
    left join tidemill._queues q on q.queue_name = s.queue_name
    where s.job_key is null;

  for spec in
    select s.*, t.id as task_id, t.limit_id, q.id as queue_id
    from rows from (unnest(specs), unnest(job_key_modes)) with ordinality
      s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, mode, place)
    join tidemill._tasks t on t.identifier = s.identifier
    left join tidemill._queues q on q.queue_name = s.queue_name
    where s.job_key is not null
    order by s.job_key collate "C", s.place
  loop
    new.id := ids[spec.place];
    new.key := spec.job_key;
    new.task_id := spec.task_id;
    new.queue_id := spec.queue_id;
    new.payload := coalesce(spec.payload, '{}');
    new.run_at := coalesce(spec.run_at, now());
    new.max_attempts := coalesce(spec.max_attempts, 25);
    new.priority := coalesce(spec.priority, 0);
    new.flags := tidemill._normal_flags(spec.flags);
    new.keep := keeps[spec.place];
    new.trace := traces[spec.place];
    new.gate_id := case when coalesce(spec.limit_id, limit_ids[spec.place]) is not null then
      tidemill._gate_id(spec.limit_id, limit_ids[spec.place], spec.identifier, spec.queue_name, new.payload,
                        format(' (spec %s)', spec.place)) end;
    new := tidemill._add_keyed_job(new, coalesce(spec.mode, 'replace'));
    ids[spec.place] := new.id;
  end loop;

  if limited then
    perform tidemill._visit_jobs(array(select j from unnest(ids) i(id) join tidemill._jobs j on j.id = i.id));
  end if;

  return query
    select (x.r).*
    from (
      select tidemill._job_row(tidemill._own_part(j, wanted.mode), t.identifier, q.queue_name) as r
      from rows from (unnest(ids), unnest(job_key_modes)) with ordinality as wanted(id, mode, place)
      join tidemill._jobs j on j.id = wanted.id
      join tidemill._tasks t on t.id = j.task_id
      left join tidemill._queues q on q.id = j.queue_id
      order by wanted.place
      offset 0
    ) x;
end
$$;
comment on function tidemill._add_keyed_jobs is
  'Adds specs that _check_specs has accepted and of which some have keys, one key after the other, or limits.';

create or replace function tidemill._check_specs(
  specs tidemill.job_spec[], job_key_modes text[], limit_names text[],
  out identifier text, out task_id integer, out keyed boolean, out limited boolean, out limit_ids integer[]
)
language plpgsql
as $$
#variable_conflict use_variable
declare
  seen record;
  bad record;
begin
  -- One pass over the specs answers all questions about them.
  select bool_and(tidemill._job_fits(
           s.identifier, s.queue_name, s.max_attempts, s.job_key, s.priority, s.flags)) as fit,
         min(s.identifier collate "C") as identifier,
         min(s.identifier collate "C") = max(s.identifier collate "C") as one_task,
         count(s.queue_name) > 0 as queued, count(s.job_key) > 0 as keyed,
         min(coalesce(s.run_at, now())) as run_at,
         min(coalesce(s.priority, 0)) as priority, max(coalesce(s.priority, 0)) as last_priority
    into seen
    from unnest(specs) s;
  limited := false;
  if seen.run_at is null then
    keyed := false;
    return;
  end if;

  if not seen.fit then
    select s.* into bad
      from unnest(specs) with ordinality
        s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
      where not tidemill._job_fits(s.identifier, s.queue_name, s.max_attempts, s.job_key, s.priority, s.flags)
      order by s.place limit 1;
    perform tidemill._refuse_job(bad.identifier, bad.queue_name, bad.max_attempts, bad.job_key,
                                 bad.priority, bad.flags, format(' (spec %s)', bad.place));
  end if;

  keyed := seen.keyed;
  if keyed then
    perform tidemill._check_job_key_mode(m.mode, format(' (spec %s)', m.place))
      from (
        select s.mode, min(s.place) as place
        from rows from (unnest(specs), unnest(job_key_modes)) with ordinality
          s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, mode, place)
        where s.job_key is not null
        group by s.mode order by 2
      ) m;
  end if;

  if num_nonnulls(variadic limit_names) > 0 then
    if cardinality(limit_names) <> cardinality(specs) then
      raise exception using errcode = 'invalid_parameter_value',
        message = format('limit_names has %s entries for %s specs', cardinality(limit_names), cardinality(specs)),
        hint = 'Give one for each spec; null stands for the limit of its task.';
    end if;
    limited := true;
    limit_ids := array(
      select tidemill._limit_id(n.name, format(' (spec %s)', n.place))
      from unnest(limit_names) with ordinality n(name, place) order by n.place);
  end if;

  -- In the order of their names, so that two callers with new ones cannot deadlock.
  if seen.queued then
    perform tidemill._queue_id(s.queue_name)
      from (select distinct u.queue_name from unnest(specs) u where u.queue_name is not null order by 1) s;
  end if;
  if not seen.one_task then
    select limited or bool_or((tidemill._task(s.identifier)).limit_id is not null) into limited
      from (select distinct u.identifier from unnest(specs) u order by 1) s;
  else
    select t.id, limited or t.limit_id is not null into task_id, limited from tidemill._task(seen.identifier) t;
    if seen.queued or keyed then
      task_id := null;
    else
      identifier := seen.identifier;
    end if;
  end if;

  -- The place of the first new job is known only if all are plain jobs of one priority.
  perform tidemill._notify_workers(
    seen.run_at,
    case when seen.priority = seen.last_priority and not seen.queued and not keyed
      then seen.priority::smallint end,
    0);
end
$$;
comment on function tidemill._check_specs is
$$Refuses invalid specs, adds missing tasks and queues, and wakes workers.

Returns whether any spec has a key, whether any has a limit, the limits that specs name, and, if all are plain jobs of
one task, that task.$$;
