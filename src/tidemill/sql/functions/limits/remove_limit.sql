create or replace function tidemill.remove_limit(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._operator_requests (verb, names) values ('remove_limit', array[name]);
end
$$;
comment on function tidemill.remove_limit is
$$Removes a limit that tidemill.set_limit made: its jobs that wait are free to run.

Jobs cannot name it any more, until set_limit makes it again. Error 22023 if there is none of that name.$$;

create or replace function tidemill._remove_limit(who name, name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  before jsonb;
  in_code text;
begin
  perform tidemill._lock('limits');
  before := tidemill._limit_in_short(name);
  in_code := tidemill._limit_in_code(name);
  perform tidemill._lift_limit(l) from tidemill._limits l where l.name = name and l.removed_at is null;
  if not found then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('there is no limit "%s"', left(name, 128)) || coalesce('; ' || in_code, ''),
      hint = 'The view tidemill.limits lists them. The limit of a task is changed and removed in the task''s code: '
        '@app.task(limit=...). Its workers write that down when they start.';
  end if;
  if in_code is not null then
    raise notice using message = in_code || ', which stays as it is';
  end if;
  perform tidemill._note_act(who, 'remove_limit', array[name], 1, null, before);
end
$$;
create or replace function tidemill._lift_limit(l tidemill._limits) returns void
language plpgsql
as $$
begin
  update tidemill._limits x set
      concurrency = null, rate = null, period = null, burst = null, per_second = null, per = null,
      removed_at = now(), changed_at = now()
    where x.id = l.id;
  update tidemill._tasks t set limit_id = null, gate_from = null where t.limit_id = l.id;
  perform tidemill._tell_limit(l.id);
end
$$;
comment on function tidemill._lift_limit is 'Removes a limit, so that it holds nobody up. Its row stays, since jobs have its number in their gates.';
