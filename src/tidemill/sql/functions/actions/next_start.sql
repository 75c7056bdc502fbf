-- The grid of fixed schedules.

create or replace function tidemill.next_start(
  schedule_interval interval, initial_start timestamptz, timezone text, finished_at timestamptz
) returns timestamptz
-- With the owner's rights: callers have none on the functions that it calls.
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._check_timezone(timezone);
  return tidemill._grid_slot(schedule_interval, initial_start, timezone, finished_at);
end
$$;
comment on function tidemill.next_start is
$$The first slot of a fixed schedule after a time.

schedule_interval  distance of the slots, above zero
initial_start      the first slot
timezone           months and days are counted on its clocks; NULL means UTC
finished_at        the slot that is returned is after it

Slots are initial_start + k * schedule_interval, k = 0, 1, 2 ... Each is counted from
initial_start, so January 31, February 28, March 31 follow each other. An interval
without months and days, such as '24 hours', counts elapsed time in any zone. A slot
that clocks skip or show twice is when AT TIME ZONE says it is.

Independent of the session's settings. Returns 'infinity' when no slot is left, NULL
when an argument other than timezone is NULL.
Errors: 22023 an interval that is not positive or mixes signs, an unknown time zone,
initial_start '-infinity'.$$;

create or replace function tidemill._grid_slot(
  schedule_interval interval, initial_start timestamptz, timezone text, finished_at timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  zone text := coalesce(timezone, 'UTC');
  months integer;
  days integer;
  -- Seconds between two slots: step without the months, pace with the months' mean length.
  step numeric;
  pace numeric;
  begun timestamp;
  ended timestamp;
  k bigint;
  shown timestamp;
  slot timestamptz;
begin
  if schedule_interval is null or initial_start is null or finished_at is null then
    return null;
  elsif schedule_interval <= interval '0' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('schedule interval %s is not positive', schedule_interval),
      hint = 'Use an interval above zero.';
  elsif initial_start = '-infinity' then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'initial start cannot be -infinity',
      hint = 'Give the time of one slot: the others are counted from it.';
  end if;
  -- PostgreSQL refuses unknown zones here.
  begun := initial_start at time zone zone;
  if finished_at < initial_start then
    return initial_start;
  elsif not (isfinite(finished_at) and isfinite(schedule_interval)) then
    return 'infinity';
  end if;

  months := extract(year from schedule_interval)::integer * 12 + extract(month from schedule_interval)::integer;
  days := extract(day from schedule_interval)::integer;
  step := days * 86400::numeric
          + extract(epoch from schedule_interval - make_interval(months => months, days => days));
  if months < 0 or months > 0 and step < 0 then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('schedule interval %s goes forth and back', schedule_interval),
      hint = 'Give its months and the rest the same sign.';
  end if;
  -- 365.2425 days have twelve months.
  pace := months * 2629746::numeric + step;

  if months = 0 and (days = 0 or step < 86400) then
    -- Hours are elapsed time, whether or not clocks are turned.
    zone := 'UTC';
    begun := initial_start at time zone zone;
  end if;
  ended := finished_at at time zone zone;
  -- The mean length is off by a few days at most, less than the shortest month.
  k := greatest(floor(extract(epoch from ended - begun) / pace) - 1, 0);
  loop
    shown := begun + make_interval(
      months => (k * months)::integer,
      days => div(k * step, 86400)::integer,
      secs => mod(k * step, 86400)::double precision);
    slot := case k when 0 then initial_start else shown at time zone zone end;
    -- Clocks are turned by a day at most, and slots are at least a day apart: so this is the first one.
    if slot > finished_at then
      return slot;
    end if;
    k := k + 1;
  end loop;
exception
  when datetime_field_overflow or interval_field_overflow or numeric_value_out_of_range then
    -- It would be later than PostgreSQL's last time.
    return 'infinity';
end
$$;
comment on function tidemill._grid_slot is
  'tidemill.next_start for a time zone that was checked when it was stored; a later version may refuse its name.';
