-- Limits that tasks have in their code: a worker that starts writes them down, so that whoever adds jobs is held to them.

create or replace function tidemill._declare_limits(declared jsonb)
returns table (identifier text, was text, becomes text, waits_for text)
-- A producer that has added the first job of a task may leave its transaction open for hours.
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
#variable_conflict use_column
declare
  given record;
begin
  for given in select d.key as identifier, nullif(d.value, 'null') as l from jsonb_each(declared) d order by d.key loop
    continue when tidemill._has_limit(given.identifier, given.l);
    identifier := given.identifier;
    begin
      select d.was, d.becomes, null into was, becomes, waits_for
        from tidemill._declare_limit(given.identifier, given.l) d;
      -- Another worker was faster.
      continue when was = becomes;
    exception when lock_not_available or deadlock_detected then
      was := null;
      becomes := null;
      waits_for := coalesce(
        (select string_agg(h.holder, ' ')
         from tidemill._holders_of('{tidemill._locks,tidemill._tasks,tidemill._limit_tasks}') h (holder)),
        'Another transaction held a lock on it.');
      -- One may hold up all of them.
      perform set_config('lock_timeout', '20ms', true);
    end;
    return next;
  end loop;
end
$$;
comment on function tidemill._declare_limits is
$$Gives tasks the limits that their code has, and returns what was changed, in words.

declared   an object with a key for each task of a worker: null, or an object with concurrency, rate, period, burst and
           field; or with the name of a limit that tidemill.set_limit has made
waits_for  which transactions may hold this one up: it was not done; NULL: it was

It waits for a lock for one second in all. Errors: 22023 for a limit that cannot be meant, or is not there.$$;

create or replace function tidemill._has_limit(identifier text, wanted jsonb) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when wanted is null then not exists (
      select from tidemill._tasks t where t.identifier = _has_limit.identifier and t.limit_id is not null)
    else exists (
      select from tidemill._tasks t
      join tidemill._limits l on l.id = t.limit_id and l.removed_at is null
      cross join jsonb_populate_record(null::tidemill._limits, wanted) w
      where t.identifier = _has_limit.identifier
        and case when wanted ? 'name' then l.name = w.name
          else l.task_id = t.id and (l.concurrency, l.rate, l.period, l.burst, array_to_string(l.per, '.'))
            is not distinct from (w.concurrency, w.rate, w.period, coalesce(w.burst, w.rate), wanted ->> 'field') end) end
$$;
comment on function tidemill._has_limit is 'Whether a task has the limit of its code already (NULL: none), so that nothing is to be done.';

create or replace function tidemill._declare_limit(identifier text, l jsonb, out was text, out becomes text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  known record;
  before tidemill._limits;
  wanted tidemill._limits;
begin
  -- As _lock does, but it would wait for longer than this may.
  perform from tidemill._locks k where k.name = 'limits' for update;
  perform tidemill._lock('limits');
  if l is null then
    select t.id, t.limit_id into known from tidemill._tasks t where t.identifier = identifier;
  else
    select t.* into known from tidemill._task(identifier) t;
  end if;
  select x.* into before from tidemill._limits x where x.id = known.limit_id;
  was := tidemill._limit_words(before);
  if l is null then
    update tidemill._tasks t set limit_id = null, gate_from = null where t.id = known.id;
    perform tidemill._lift_limit(x) from tidemill._limits x where x.task_id = known.id;
    return;
  elsif l ? 'name' then
    select x.* into wanted from tidemill._limits x where x.name = l ->> 'name' and x.removed_at is null;
    if not found then
      raise exception using errcode = 'invalid_parameter_value',
        message = format('task "%s" has the limit "%s", which is not there', left(identifier, 128), left(l ->> 'name', 128)),
        hint = format('Make it first: select tidemill.set_limit(%L, concurrency => 5).', left(l ->> 'name', 128));
    end if;
  else
    select r.* into wanted from jsonb_populate_record(null::tidemill._limits, l) r;
    perform tidemill._refuse_limit(format('the limit of task "%s"', left(identifier, 128)), wanted.concurrency, wanted.rate,
                                  wanted.period, wanted.burst, l ->> 'field');
    wanted.task_id := known.id;
    wanted.per := string_to_array(l ->> 'field', '.');
    wanted.burst := coalesce(wanted.burst, wanted.rate);
    wanted.per_second := wanted.rate / extract(epoch from wanted.period)::float8;
    wanted.id := tidemill._write_limit(wanted);
  end if;
  if known.limit_id is distinct from wanted.id then
    -- Those of its jobs that are there already have no gate, or one of another limit.
    update tidemill._tasks t set limit_id = wanted.id, gate_from = 0 where t.id = known.id;
    perform tidemill._lift_limit(x) from tidemill._limits x
      where x.task_id = known.id and x.id <> wanted.id and x.removed_at is null;
    insert into tidemill._limit_tasks values (wanted.id, known.id) on conflict do nothing;
  end if;
  perform tidemill._tell_limit(wanted.id);
  becomes := tidemill._limit_words(wanted);
end
$$;
comment on function tidemill._declare_limit is
  'Gives a task the limit of its code, or none, and returns the limits in words.';

create or replace function tidemill._limit_words(l tidemill._limits) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when l.id is not null and l.removed_at is null then concat_ws(', ',
    'the limit "' || l.name || '"', l.concurrency || ' at once',
    l.rate || ' in ' || l.period || case when l.burst <> l.rate then ' (burst ' || l.burst || ')' else '' end,
    'per ' || array_to_string(l.per, '.')) end
$$;
comment on function tidemill._limit_words is 'What a limit says, for logs; NULL: there is none.';

create or replace function tidemill._gate_waiting(identifiers text[], most integer default 5000) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set lock_timeout = '100ms'
as $$
#variable_conflict use_column
declare
  task record;
  last_id bigint;
  gated tidemill._jobs[];
  left_gates bigint[];
begin
  select t.id, t.identifier, t.limit_id, t.gate_from into task
    from tidemill._tasks t
    where t.gate_from is not null and t.limit_id is not null and t.identifier = any(identifiers)
    order by t.id limit 1 for update skip locked;
  if not found then
    return false;
  end if;
  select max(x.id) into last_id
    from (select j.id from tidemill._jobs j where j.id > task.gate_from order by j.id limit most) x;
  if last_id is not null then
    with waiting as materialized (
      select j.id, case when j.locked_at is not null then j.gate_id end as held_gate from tidemill._jobs j
      where j.id > task.gate_from and j.id <= last_id and j.task_id = task.id
        and (j.gate_id is null or (j.gate_id >> 40)::integer <> task.limit_id) and j.queue_id is null and (j.locked_at is not null or j.attempts < j.max_attempts)
      order by j.id for update skip locked
    ),
    updated as (
      update tidemill._jobs j set gate_id = tidemill._gate_id_if_any(task.limit_id, j.payload)
        from waiting w where j.id = w.id
        returning j, w.held_gate
    )
    select array_agg(u.j), array_agg(u.held_gate) filter (where u.held_gate is not null) into gated, left_gates
      from updated u;
    perform tidemill._visit_jobs(gated);
    if left_gates is not null then
      -- Those that run have left their places to other tasks.
      insert into tidemill._visits
        select v.* from tidemill._visits_of_ended(left_gates, array_fill(task.id, array[cardinality(left_gates)]), null) v;
    end if;
  end if;
  update tidemill._tasks t set gate_from = last_id where t.id = task.id;
  return true;
end
$$;
comment on function tidemill._gate_waiting is
$$Brings some jobs of a task that were added before it had its limit under that; also those that run, so that they count.

most  how many jobs to look at. Jobs of named queues keep to these alone, and rows that are locked are passed over.
Returns whether there may be more.$$;

create or replace function tidemill._gate_id_if_any(limit_id integer, payload json) returns bigint
language plpgsql stable
as $$
begin
  return tidemill._gate_id(limit_id, null, '', null, payload);
exception when data_exception then
  -- Nobody could be told: those that lack the field, or whose payload cannot be read, have one gate together.
  return limit_id::bigint << 40;
end
$$;
comment on function tidemill._gate_id_if_any is 'As _gate_id, for a job that was added before its task had a limit.';
