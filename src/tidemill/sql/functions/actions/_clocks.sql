-- Clocks of time zones: when they are turned, and when they show a time.

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
