create or replace function tidemill.set_limit(
  name text,
  concurrency integer default null,
  rate integer default null,
  period interval default null,
  burst integer default null,
  per text default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  wanted tidemill._limits;
begin
  wanted.concurrency := concurrency;
  wanted.rate := rate;
  wanted.period := period;
  wanted.burst := burst;
  insert into tidemill._operator_requests (verb, names, wanted) values ('set_limit', array[name, per], wanted);
end
$$;
comment on function tidemill.set_limit is
$$Makes a limit, or changes the one of that name. Jobs name it: add_job(..., limit_name => name).

name         1 to 128 characters
concurrency  how many of its jobs may run at once, over all workers: from 1 on
rate         how many may start in a period, from 1 on; with period
period       more than zero
burst        how many may start at once after a pause; default rate. In any time t at most
             burst + rate * t / period start
per          a field of the payload, with dots where it lies deeper (customer.id): each value has
             the limit for itself. Jobs that lack it are refused
What is left out is not limited; concurrency, or rate with period, must be there. A change holds from the
next claim on; jobs that run go on. Jobs that wait keep the key that they were added with.

Errors: 22023 for what cannot be meant; also for the name of a task that has a limit in its code.$$;

create or replace function tidemill._set_limit(
  who name, name text, concurrency integer, rate integer, period interval, burst integer, per text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  limit_id integer;
  before jsonb;
  in_code text;
begin
  if name is null or length(name) not between 1 and 128 then
    raise exception using errcode = 'invalid_parameter_value',
      message = case when name is null then 'the name of a limit must not be null' else format(
        'the name of a limit has %s characters, 1 to 128 are allowed: "%s"', length(name), left(name, 40)) end,
      hint = 'Give it a short name, for instance mailer; jobs name it with limit_name.';
  end if;
  perform tidemill._refuse_limit(format('limit "%s"', name), concurrency, rate, period, burst, per);
  perform tidemill._lock('limits');
  before := tidemill._limit_in_short(name);
  in_code := tidemill._limit_in_code(name);
  if in_code is not null then
    -- Most likely that one is meant, which this would not change. One that is there already may be changed.
    if before is null then
      raise exception using errcode = 'invalid_parameter_value',
        message = format('%s, and a limit "%s" would be another one', in_code, name),
        hint = 'Change it in the task''s code, @app.task(limit=...), and start its workers again; or use another name.';
    end if;
    raise notice using message = in_code || ', which stays as it is',
      hint = 'Change it in the task''s code, @app.task(limit=...), and start its workers again.';
  end if;
  limit_id := tidemill._write_limit(
    row(null, name, null, concurrency, rate, period, coalesce(burst, rate), rate / extract(epoch from period)::float8,
        string_to_array(per, '.'), null, now())::tidemill._limits);
  perform tidemill._tell_limit(limit_id);
  perform tidemill._note_act(who, 'set_limit', array[name], 1, null, before, tidemill._limit_in_short(name));
end
$$;
create or replace function tidemill._write_limit(l tidemill._limits) returns integer
language plpgsql
as $$
#variable_conflict use_variable
declare
  written integer;
begin
  -- An insert that finds it there would use up a number, and there are only so many.
  update tidemill._limits x set
      concurrency = l.concurrency, rate = l.rate, period = l.period, burst = l.burst, per_second = l.per_second,
      per = l.per, removed_at = null, changed_at = now()
    where x.name = l.name or x.task_id = l.task_id
    returning x.id into written;
  if not found then
    written := nextval(pg_get_serial_sequence('tidemill._limits', 'id'));
    if written > 8388606 then
      raise exception using errcode = 'program_limit_exceeded',
        message = 'there have been 8388606 limits, and more have no numbers',
        hint = 'Each name that was ever set has a number. Use few names: with per, one limit does for all customers.';
    end if;
    insert into tidemill._limits (id, name, task_id, concurrency, rate, period, burst, per_second, per)
      overriding system value
      values (written, l.name, l.task_id, l.concurrency, l.rate, l.period, l.burst, l.per_second, l.per);
  end if;
  return written;
end
$$;
comment on function tidemill._write_limit is
$$Writes a limit by its name or task, and returns its number. The lock "limits" is held.

Error 54000: no number is left.$$;

create or replace function tidemill._refuse_limit(
  what text, concurrency integer, rate integer, period interval, burst integer, per text
) returns void
language plpgsql
as $$
declare
  wrong text;
  remedy text;
begin
  if concurrency < 1 then
    wrong := format('concurrency %s of %s is below 1', concurrency, what);
    remedy := 'To hold jobs back altogether, pause their task; 1 runs one at a time.';
  elsif rate < 1 then
    wrong := format('rate %s of %s is below 1', rate, what);
    remedy := 'For less than one in a period make the period longer: rate => 1, period => ''10 minutes''.';
  elsif rate is not null and period is null then
    wrong := format('%s has the rate %s without a period', what, rate);
    remedy := 'Say in which time, for instance period => ''1 minute''.';
  elsif rate is null and period is not null then
    wrong := format('%s has the period %s without a rate', what, period);
    remedy := 'Say how many may start in it, for instance rate => 100.';
  elsif extract(epoch from period) not between 0.001 and 3153600000 then
    wrong := format('period %s of %s is out of range', period, what);
    remedy := 'Use a millisecond to 100 years.';
  elsif burst < 1 then
    wrong := format('burst %s of %s is below 1', burst, what);
    remedy := 'Use 1 for starts that are evenly spaced.';
  elsif burst is not null and rate is null then
    wrong := format('%s has a burst without a rate', what);
    remedy := 'Give rate and period, too; for a number of jobs at once use concurrency.';
  elsif concurrency is null and rate is null then
    wrong := format('%s limits nothing', what);
    remedy := 'Give concurrency, or rate and period, or all of them; tidemill.remove_limit removes a limit.';
  elsif per = '' or '' = any(string_to_array(per, '.')) then
    wrong := format('per "%s" of %s is not the name of a field', left(per, 128), what);
    remedy := 'Name a field of the payload, such as customer_id, or customer.id for one that lies deeper.';
  end if;
  if wrong is not null then
    raise exception using errcode = 'invalid_parameter_value', message = wrong, hint = remedy;
  end if;
end
$$;
comment on function tidemill._refuse_limit is 'Refuses a limit that cannot be meant; `what` names it in the message.';

create or replace function tidemill._limit_in_short(name text) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object('concurrency', l.concurrency, 'rate', l.rate, 'period', l.period,
    'burst', l.burst, 'per', array_to_string(l.per, '.')))
  from tidemill._limits l where l.name = _limit_in_short.name and l.removed_at is null
$$;
comment on function tidemill._limit_in_short is 'A limit for the acts; NULL if there is none of that name.';

create or replace function tidemill._limit_in_code(task text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('task "%s" has ', t.identifier)
    || case when l.task_id is null then format('the limit "%s" by its code', l.name) else 'a limit of its own, in its code' end
  from tidemill._tasks t join tidemill._limits l on l.id = t.limit_id and l.removed_at is null
  -- It may name itself.
  where t.identifier = task and l.name is distinct from task
$$;
comment on function tidemill._limit_in_code is 'Which limit the code of a task gives it, in words; NULL: none, or one of the same name.';

create or replace function tidemill._tell_limit(limit_id integer) returns void
language plpgsql
as $$
#variable_conflict use_variable
begin
  -- There may be room now. The gate without a key is visited at once; those with keys are found by a walk.
  insert into tidemill._visits (task_id, at, gate_id)
    select t.task_id, now(), limit_id::bigint << 40 from tidemill._limit_tasks t where t.limit_id = limit_id;
  perform pg_notify('tidemill:limits', 'walk');
end
$$;
comment on function tidemill._tell_limit is 'Has workers look at the gates of a limit that was changed.';
