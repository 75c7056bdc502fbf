create or replace function tidemill.begin_bulk_act(act text, filter jsonb, options jsonb default '{}') returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  begun bigint[];
begin
  insert into tidemill._operator_requests as q (verb, names, filter, options)
    values ('begin_bulk_act', array[act], filter, options)
    returning q.ids into begun;
  return begun[1];
end
$$;
comment on function tidemill.begin_bulk_act is
$$Plans a change of all jobs that pass a filter, and returns its id. No job changes yet: see tidemill.bulk_acts for how many it is
about, then call tidemill.run_bulk_act, or drop it with tidemill.abort_bulk_act.

act      retry (again, now and with all attempts), cancel, remove, or reschedule
filter   at least one of: state (ready, scheduled, running, failed, cancelled), task, queue, error (a text in last_error, in any
         case), retrying (true), since and until (a time, or an interval ago; by updated_at)
options  of cancel: reason; of reschedule: run_at (a time, or an interval from now), priority, attempts, max_attempts

Jobs that are added or changed from now on are not taken. It is kept for 90 days.

Errors: 22023 an unknown act, key or value, or an empty filter; 22003, 23514 as tidemill.reschedule_jobs.$$;

create or replace function tidemill._begin_bulk_act(who name, act text, filter jsonb, options jsonb) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  planned tidemill._bulk_acts;
begin
  planned.act := act;
  planned.cutoff := clock_timestamp();
  planned.filter := tidemill._bulk_filter(filter, planned.cutoff);
  planned.options := tidemill._bulk_options(act, options, planned.cutoff);
  -- Counted only so far: there may be millions.
  select count(*) into planned.matching
    from (select from tidemill.jobs j where tidemill._is_for_bulk_act(
            planned, j.state, j.identifier, j.queue_name, j.retrying, j.last_error, j.updated_at)
          limit 10001) c;
  select coalesce(min(j.id), 0), coalesce(max(j.id), 0) into planned.first_id, planned.last_id from tidemill._jobs j;

  delete from tidemill._bulk_acts b
    where b.created_at < clock_timestamp() - interval '90 days' and coalesce(b.moved_at, b.created_at) < clock_timestamp() - interval '90 days';
  insert into tidemill._bulk_acts as b
      (act, filter, options, asked_by, application_name, cutoff, first_id, last_id, reached_id, matching)
    values (planned.act, planned.filter, planned.options, who,
            nullif(current_setting('application_name'), ''), planned.cutoff, planned.first_id, planned.last_id,
            planned.first_id - 1, planned.matching)
    returning b.id into planned.id;
  perform tidemill._note_act(
    who, 'begin_bulk_act', array[planned.id::text], 1, planned.options ->> 'reason', null,
    jsonb_build_object('act', planned.act, 'filter', planned.filter, 'options', planned.options));
  return planned.id;
end
$$;
create or replace function tidemill._is_for_bulk_act(
  b tidemill._bulk_acts, state text, identifier text, queue_name text, retrying boolean, last_error text, updated_at timestamptz
) returns boolean
language sql stable
as $$
  select updated_at <= b.cutoff and tidemill._job_passes(
    state, identifier, queue_name, retrying, last_error, updated_at,
    b.filter ->> 'state', b.filter ->> 'task', b.filter ->> 'queue', (b.filter ->> 'retrying')::boolean, b.filter ->> 'error',
    (b.filter ->> 'since')::timestamptz, (b.filter ->> 'until')::timestamptz)
$$;
comment on function tidemill._is_for_bulk_act is 'Whether a row of the view jobs is among those that a bulk act changes.';

create or replace function tidemill._bulk_filter(filter jsonb, at timestamptz) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  known constant text[] := '{state,task,queue,error,retrying,since,until}';
  field record;
  read jsonb := '{}';
begin
  if filter is null or jsonb_typeof(filter) <> 'object' or filter = '{}' then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'the filter of a bulk act is empty, so it would change every job',
      hint = format('Give at least one of: %s.', array_to_string(known, ', '));
  end if;
  for field in select e.key as name, e.value, e.value #>> '{}' as text from jsonb_each(filter) e loop
    if not field.name = any(known) then
      raise exception using errcode = 'invalid_parameter_value',
        message = format('the filter has an unknown key: %s', left(field.name, 128)),
        hint = format('Known are: %s.', array_to_string(known, ', '));
    end if;
    if coalesce(field.text, '') = '' then
      -- Most likely a variable that is not set: it would widen the choice.
      raise exception using errcode = 'invalid_parameter_value', message = format('%s of the filter is empty', field.name),
        hint = 'Give it a value, or leave it out.';
    end if;
    if field.name = 'state' and not field.text = any('{ready,scheduled,running,failed,cancelled}') then
      raise exception using errcode = 'invalid_parameter_value', message = format('%L is no state of a job', left(field.text, 128)),
        hint = 'Use ready, scheduled, running, failed or cancelled.';
    end if;
    if field.name = 'retrying' and field.value <> 'true' then
      raise exception using errcode = 'invalid_parameter_value', message = format('retrying of the filter is %s', left(field.value::text, 128)),
        hint = 'It is true, or left out.';
    end if;
    read := read || jsonb_build_object(field.name, case
      when field.name in ('since', 'until') then to_jsonb(tidemill._bulk_time(field.text, at, -1, field.name)) else field.value end);
  end loop;
  return read;
end
$$;
comment on function tidemill._bulk_filter is 'The filter of a bulk act, checked, and with its times as they are at a time.';

create or replace function tidemill._bulk_options(act text, options jsonb, at timestamptz) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  known constant text[] := case act when 'retry' then '{}' when 'remove' then '{}' when 'cancel' then '{reason}'
    when 'reschedule' then '{run_at,priority,attempts,max_attempts}' end;
  given jsonb := jsonb_strip_nulls(coalesce(options, '{}'));
  unknown text;
begin
  if known is null then
    raise exception using errcode = 'invalid_parameter_value', message = format('%L is no act', left(coalesce(act, ''), 128)),
      hint = 'Use retry, cancel, remove or reschedule.';
  end if;
  if jsonb_typeof(given) <> 'object' then
    raise exception using errcode = 'invalid_parameter_value', message = format('the options of a bulk act are %s, and no object', left(given::text, 50)),
      hint = 'Give for instance {"reason": "the shop is closed"}, or leave them out.';
  end if;
  select k into unknown from jsonb_object_keys(given) k where not k = any(known) limit 1;
  if unknown is not null then
    raise exception using errcode = 'invalid_parameter_value', message = format('%s has no option %s', act, left(unknown, 128)),
      hint = case when known = '{}' then 'It takes none.' else format('Known are: %s.', array_to_string(known, ', ')) end;
  end if;
  if act <> 'reschedule' then
    return given;
  end if;
  if given = '{}' then
    raise exception using errcode = 'invalid_parameter_value', message = 'reschedule does not say what to change',
      hint = format('Give at least one of: %s.', array_to_string(known, ', '));
  end if;
  if given ? 'run_at' then
    given := given || jsonb_build_object('run_at', tidemill._bulk_time(given ->> 'run_at', at, 1, 'run_at'));
  end if;
  -- It refuses what cannot be meant.
  perform tidemill._reschedule_idle_jobs('{}'::bigint[], (given ->> 'run_at')::timestamptz, (given ->> 'priority')::integer,
    (given ->> 'attempts')::integer, (given ->> 'max_attempts')::integer);
  return given;
end
$$;
comment on function tidemill._bulk_options is 'The options of a bulk act, checked, and with its times as they are at a time.';

create or replace function tidemill._bulk_time(value text, at timestamptz, direction integer, name text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  -- Of numbers alone only 20300131 is a date that people write.
  has_unit constant boolean := tidemill._has_unit(value) or value ~ '^[0-9]{8}$';
begin
  if has_unit then
    begin
      return value::timestamptz;
    exception when data_exception then
      return at + value::interval * direction;
    end;
  end if;
  raise exception using errcode = 'invalid_parameter_value', message = format('%s is %s, which has no unit', name, left(value, 128)),
    hint = format('Write "%1$s days" or "%1$s seconds", or a time such as 2030-01-31 09:00+01.', trim(left(value, 128)));
exception when data_exception then
  if not has_unit then
    raise;
  end if;
  raise exception using errcode = 'invalid_parameter_value', message = format('%s is %L, which is neither a time nor an interval', name, left(value, 128)),
    hint = 'Use for instance 2030-01-31 09:00+01 or 2 hours.';
end
$$;
comment on function tidemill._bulk_time is 'A time, or an interval before (-1) or after (1) another.';
