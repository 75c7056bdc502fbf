-- The number of a task or queue, made on first use. It is looked up before the
-- insert, so that repeated adds use up no identity values.

create or replace function tidemill._task_id(identifier text) returns integer
language plpgsql
as $$
#variable_conflict use_variable
declare
  found_id integer;
begin
  loop
    select t.id into found_id from tidemill._tasks t where t.identifier = identifier;
    if found then
      return found_id;
    end if;
    -- So that a pause of everything sees it, or is seen here.
    perform tidemill._lock('pauses', shared => true);
    insert into tidemill._tasks as t (identifier, paused_at)
      values (identifier, tidemill._paused_since('task', identifier))
      on conflict do nothing returning t.id into found_id;
    if found then
      return found_id;
    end if;
  end loop;
end
$$;

create or replace function tidemill._task(identifier text, out id integer, out limit_id integer)
language plpgsql
as $$
#variable_conflict use_variable
begin
  select t.id, t.limit_id into id, limit_id from tidemill._tasks t where t.identifier = identifier;
  if not found then
    id := tidemill._task_id(identifier);
  end if;
end
$$;
comment on function tidemill._task is 'The number of a task, as _task_id, and that of its limit; NULL: it has none.';

create or replace function tidemill._queue_id(queue_name text) returns bigint
language plpgsql strict
as $$
#variable_conflict use_variable
declare
  found_id bigint;
begin
  loop
    select q.id into found_id from tidemill._queues q where q.queue_name = queue_name;
    if found then
      -- An older snapshot shows queues that cleanup has deleted since: then this fails with 40001.
      if current_setting('transaction_isolation') <> 'read committed' then
        perform from tidemill._queues q where q.id = found_id for key share;
      end if;
      return found_id;
    end if;
    insert into tidemill._queues as q (queue_name, paused_at)
      values (queue_name, tidemill._paused_since('queue', queue_name))
      on conflict do nothing returning q.id into found_id;
    if found then
      return found_id;
    end if;
  end loop;
end
$$;

create or replace function tidemill._task_ids(identifiers text[]) returns integer[]
language plpgsql
as $$
begin
  return array(select (select t.id from tidemill._tasks t where t.identifier = i.name and t.paused_at is null)
               from unnest(identifiers) as i(name));
end
$$;
comment on function tidemill._task_ids is
  'Numbers of tasks in the order of their identifiers; NULL for a task that is paused, or of which no job was ever added.';

create or replace function tidemill._task_ids_with_paused(identifiers text[]) returns integer[]
language plpgsql
as $$
begin
  return array(select (select case when t.paused_at is null then t.id else -t.id end
                       from tidemill._tasks t where t.identifier = i.name)
               from unnest(identifiers) as i(name));
end
$$;
comment on function tidemill._task_ids_with_paused is 'As _task_ids, but a paused task has its number with a minus.';
