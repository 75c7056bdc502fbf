create or replace function tidemill.pause(kind text, name text default null, reason text default null) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  changed boolean;
begin
  insert into tidemill._operator_requests as q (verb, names, reason) values ('pause', array[kind, name], reason)
    returning q.changed into changed;
  return changed;
end
$$;
comment on function tidemill.pause is
$$Pauses a task, a named queue, or everything: from each worker's next claim on, none of these jobs starts.

kind    task, queue or all
name    of the task or queue; NULL for all. A task may be paused before its first job if a live worker knows it
reason  told where it is told that jobs wait

Returns false, and changes nothing, if it is paused already. Jobs in a worker's hand run on. Adds work as ever. A pause
is kept until tidemill.resume. Scheduled actions have a pause of their own: what they add waits.
Errors: 22023 an unknown kind or a name that does not fit it, 42704 no such task or queue (the hint has names like
it), 55P03 another transaction adds the first job of a task, or pauses, for over 10 seconds.$$;

create or replace function tidemill._pause(who name, kind text, name text, reason text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
begin
  perform tidemill._check_pause(kind, name);
  perform tidemill._lock('pauses');
  perform tidemill._expect_known(kind, name);
  if kind = 'task' then
    perform tidemill._task_id(name);
  end if;
  insert into tidemill._pauses (kind, name, paused_by, acts_as, reason)
    values (kind, coalesce(name, ''), who, tidemill._acts_as(), tidemill._bounded_error(nullif(reason, '')))
    on conflict do nothing;
  if not found then
    return false;
  end if;
  perform tidemill._carry_out_pauses(kind, name);
  perform tidemill._note_act(who, 'pause', array[concat_ws(' ', kind, name)], 1, reason);
  return true;
end
$$;

create or replace function tidemill._check_pause(kind text, name text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  if kind is null or kind not in ('task', 'queue', 'all') then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('kind %s is unknown', coalesce('"' || left(kind, 128) || '"', 'NULL')),
      hint = 'Use task, queue or all.';
  elsif kind = 'all' and name is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('kind all takes no name, and got "%s"', left(name, 128)),
      hint = 'Use the kind task or queue for one of them.';
  elsif kind <> 'all' and name is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('the name of the %s is missing', kind),
      hint = 'Name it, or use the kind all for everything.';
  end if;
end
$$;

create or replace function tidemill._expect_known(kind text, name text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  known text[];
  near text[];
begin
  if kind = 'all'
    or kind = 'task' and (
      exists (select from tidemill._tasks t where t.identifier = name)
      or exists (
        select from tidemill._workers w where w.expires_at > clock_timestamp() and name = any(w.identifiers)))
    or kind = 'queue' and exists (select from tidemill._queues q where q.queue_name = name)
  then
    return;
  end if;
  -- There may be a queue for each customer.
  known := case kind
    when 'queue' then array(select q.queue_name from tidemill._queues q limit 10000)
    else array(
      select t.identifier from tidemill._tasks t
      union
      select unnest(w.identifiers) from tidemill._workers w where w.expires_at > clock_timestamp()) end;
  near := tidemill._like(left(name, 128), known);
  raise exception using errcode = 'undefined_object',
    message = format('no %s has the name "%s"', kind, left(name, 128)),
    hint = case
      when near is not null then format('Is %s meant?', array_to_string(near, ' or '))
      when kind = 'queue' then 'A queue is known once a job was added to it.'
      else 'A task is known once a job of it was added, or while a worker that runs it lives.' end;
end
$$;
comment on function tidemill._expect_known is
  'Raises 42704 for a task or queue that nobody knows; the hint has the names that may be meant.';

create or replace function tidemill._like(name text, known text[]) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array_agg(n.quoted order by n.likeness desc, n.quoted)
  from (
    select format('"%s"', k.name) as quoted, tidemill._likeness(w.pairs, k.name) as likeness
    from (values (tidemill._letter_pairs(_like.name))) w (pairs), unnest(known) k (name)
    order by likeness desc, quoted limit 3
  ) n
  where n.likeness >= 0.5
$$;
comment on function tidemill._like is 'Up to three of these names that are like one, quoted, the likest first; NULL if none is.';

-- Where a pause stands is in one table alone; tasks and queues have what follows from it.
create or replace function tidemill._paused_since(kind text, name text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select min(p.paused_at) from tidemill._pauses p
  where p.kind = _paused_since.kind and p.name = _paused_since.name or _paused_since.kind = 'task' and p.kind = 'all'
$$;
comment on function tidemill._paused_since is
  'Since when a task or queue is paused; a task by the pause of everything, too. NULL: it is not.';

create or replace function tidemill._carry_out_pauses(kind text, name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  if kind = 'queue' then
    -- A claim may hold the row, and an express batch for as long as its budget.
    update tidemill._queues q set paused_at = tidemill._paused_since('queue', name) where q.queue_name = name;
  else
    update tidemill._tasks t set paused_at = tidemill._paused_since('task', t.identifier)
      where (kind = 'all' or t.identifier = name)
        and t.paused_at is distinct from tidemill._paused_since('task', t.identifier);
  end if;
end
$$;
comment on function tidemill._carry_out_pauses is
  'Brings tasks and queues in step with _pauses, of which the row of this kind and name was changed.';
