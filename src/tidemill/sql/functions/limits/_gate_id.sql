-- Which gate a job must pass. The number of a gate is computed, so that producers need no row of it.

create or replace function tidemill._gate_id(
  own integer, named integer, identifier text, queue_name text, payload json, place text default ''
) returns bigint
language plpgsql stable
as $$
declare
  l tidemill._limits;
  value json;
  key text;
  wrong text;
  remedy text := 'Give the field a text, a number or a boolean; or take `per` out of the limit.';
begin
  select x.* into l from tidemill._limits x where x.id = coalesce(named, own) and x.removed_at is null;
  if not found then
    return null;
  end if;
  if own <> named then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('task "%s" has a limit of its own, so its jobs cannot have the limit "%s"%s',
                       identifier, l.name, place),
      hint = 'Leave limit_name out; or take the limit out of the task''s code.';
  elsif queue_name is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('a job of task "%s" has a limit, so it cannot be in the named queue "%s"%s',
                       identifier, queue_name, place),
      hint = 'A limit with concurrency 1 per a field of the payload keeps jobs one at a time, too: leave queue_name out.';
  elsif l.per is null then
    return l.id::bigint << 40;
  end if;
  begin
    value := payload #> l.per;
    key := payload #>> l.per;
  exception when untranslatable_character or invalid_text_representation then
    -- The type json keeps such texts as they are, but to find a field all of them are read.
    wrong := 'has a zero character (u0000) or half of a surrogate pair, so nobody can read the field "%s"';
    remedy := 'Take such characters out of the payload; or take `per` out of the limit.';
  end;
  wrong := coalesce(wrong, case
    when value is null then 'lacks the field "%s"'
    when json_typeof(value) = 'null' then 'has null in the field "%s"'
    when json_typeof(value) in ('object', 'array') then 'has an ' || json_typeof(value) || ' in the field "%s"'
  end);
  if wrong is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('the payload ' || wrong || ', by which the limit of task "%s" counts%s',
                       left(array_to_string(l.per, '.'), 128), identifier, place),
      hint = remedy;
  end if;
  return (l.id::bigint << 40) | (hashtextextended(key, 0) & 1099511627775);
end
$$;
comment on function tidemill._gate_id is
$$The gate of a new job: the number of its limit in the bits from 40 on, below them the hash of its key.

own    the limit of its task
named  the limit that the job names
NULL: it has none. Two keys whose hashes are alike share a gate, so there are never too many of one. 22023: refused.$$;

create or replace function tidemill._limit_id(limit_name text, place text default '') returns integer
language plpgsql stable strict
as $$
#variable_conflict use_variable
declare
  found_id integer;
begin
  select l.id into found_id from tidemill._limits l where l.name = limit_name and l.removed_at is null;
  if not found then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('there is no limit "%s"%s', left(limit_name, 128), place),
      hint = format('Make it first: select tidemill.set_limit(%L, concurrency => 5).', left(limit_name, 128));
  end if;
  return found_id;
end
$$;
comment on function tidemill._limit_id is 'The number of the limit that a job names. 22023: there is none.';
