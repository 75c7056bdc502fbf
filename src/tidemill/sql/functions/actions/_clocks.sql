-- Time zones: when their clocks are turned, when they show a time, and which zones exist.

-- When the zone's clocks are turned, between two instants with different offsets; a full second.
create or replace function tidemill._clock_turn(low timestamptz, high timestamptz, zone text) returns timestamptz
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  middle timestamptz;
  new_offset interval := (high at time zone zone) - (high at time zone 'UTC');
begin
  while high - low > interval '1 second' loop
    middle := low + (high - low) / 2;
    if (middle at time zone zone) - (middle at time zone 'UTC') = new_offset then
      high := middle;
    else
      low := middle;
    end if;
  end loop;
  return date_trunc('second', high);
end
$$;

-- When the zone's clocks first show a time. If they skip it: when they skip it.
create or replace function tidemill._first_instant(wall timestamp, zone text) returns timestamptz
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  -- PostgreSQL takes the later of two instants, and reads a skipped time by the offset before the turn.
  instant timestamptz := wall at time zone zone;
  shown timestamp := instant at time zone zone;
  day_before timestamptz := instant - interval '24 hours';
  turned_back interval;
  earlier timestamptz;
begin
  if shown <> wall then
    return tidemill._clock_turn(instant - tidemill._elapsed(shown - wall), instant, zone);
  end if;
  turned_back := ((day_before at time zone zone) - (day_before at time zone 'UTC'))
                 - (shown - (instant at time zone 'UTC'));
  if turned_back > interval '0' then
    earlier := instant - tidemill._elapsed(turned_back);
    if earlier at time zone zone = wall then
      return earlier;
    end if;
  end if;
  return instant;
end
$$;

-- The same interval without days: PostgreSQL counts days by the session's time zone.
create or replace function tidemill._elapsed(length interval) returns interval
language sql immutable
as $$
  select make_interval(secs => extract(epoch from length)::double precision)
$$;

create or replace function tidemill._check_timezone(timezone text) returns void
language plpgsql stable strict set search_path = pg_catalog, pg_temp
-- Workers may lack the abbreviations that this session has.
set timezone_abbreviations = 'Default'
as $$
#variable_conflict use_variable
declare
  known boolean := true;
begin
  begin
    perform timestamptz 'epoch' at time zone timezone;
  exception when invalid_parameter_value then
    known := false;
  end;
  -- PostgreSQL reads Europe/Berlin1 as a zone of that name, one hour west of Greenwich.
  if known and timezone ~ '^[A-Za-z_]+/.*[0-9]' then
    known := exists (select from pg_timezone_names n where lower(n.name) = lower(timezone));
  end if;
  if not known then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('time zone "%s" not recognized', timezone),
      hint = 'Use a name of the view pg_timezone_names, such as Europe/Berlin.';
  end if;
end
$$;
