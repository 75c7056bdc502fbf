-- When a cron line is due next.

create or replace function tidemill._next_cron(
  fields tidemill._cron_fields, timezone text, after timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  zone text := coalesce(timezone, 'UTC');
  wall timestamp := after at time zone zone;
  soon timestamptz := after + interval '24 hours';
  turned_back interval;
  turn timestamptz;
  shown timestamp;
  instant timestamptz;
begin
  if not isfinite(after) then
    return null;
  elsif zone = 'UTC' then
    return tidemill._cron_wall(fields, wall) at time zone zone;
  end if;
  if not fields.by_wall_clock then
    -- If the clocks are turned back soon after this instant, times that they show again count again.
    turned_back := (wall - (after at time zone 'UTC')) - ((soon at time zone zone) - (soon at time zone 'UTC'));
    if turned_back > interval '0' then
      soon := after + tidemill._elapsed(turned_back);
      if (soon at time zone zone) - (soon at time zone 'UTC') < wall - (after at time zone 'UTC') then
        turn := tidemill._clock_turn(after, soon, zone);
        shown := tidemill._cron_wall(fields, wall);
        if shown is null or shown - wall >= turn - after then
          wall := (turn at time zone zone) - interval '1 microsecond';
        end if;
      end if;
    end if;
  end if;
  loop
    wall := tidemill._cron_wall(fields, wall);
    if wall is null then
      return null;
    end if;
    instant := tidemill._first_instant(wall, zone);
    if not fields.by_wall_clock then
      shown := instant at time zone zone;
      if shown > wall then
        -- The clocks skip this time: continue with the one that they show next.
        wall := shown - interval '1 microsecond';
        continue;
      elsif instant <= after then
        instant := wall at time zone zone;
      end if;
    end if;
    if instant > after then
      return instant;
    end if;
  end loop;
end
$$;
comment on function tidemill._next_cron is
$$The first instant after another that a cron line names; NULL if there is none within 50 years.

timezone NULL means UTC. Lines of five fields with fixed minutes and hours (neither
begins with a star) name times of the clock on the wall: a time that clocks skip comes
when they are turned, a time that they show twice comes once, the first time. Other lines
follow real time: a skipped time does not come, and a repeated one comes twice. As in
Debian's cron.$$;

-- The first time after another that the fields name, on a clock that is never turned; NULL: none in 50 years.
create or replace function tidemill._cron_wall(fields tidemill._cron_fields, after timestamp) returns timestamp
language plpgsql immutable
as $$
#variable_conflict use_variable
declare
  earliest timestamp := date_trunc('second', after) + interval '1 second';
  seconds smallint[] := fields.seconds;
  minutes smallint[] := fields.minutes;
  hours smallint[] := fields.hours;
  days smallint[] := fields.days;
  months smallint[] := fields.months;
  weekdays smallint[] := fields.weekdays;
  nth_weekdays smallint[] := fields.nth_weekdays;
  year integer := extract(year from earliest);
  month smallint := extract(month from earliest);
  day integer := extract(day from earliest);
  last_year integer := year + 50;
  -- The time at which the search begins, on its first day.
  hour smallint := extract(hour from earliest);
  minute smallint := extract(minute from earliest);
  second smallint := trunc(extract(second from earliest));
  begins boolean := true;
  first_day date;
  length integer;
  first_weekday integer;
  weekday integer;
  by_day boolean;
  by_weekday boolean;
  h smallint;
  m smallint;
  s smallint;
begin
  loop
    if month <> all (months) then
      -- width_bucket counts the members of a sorted array that are not above a number.
      month := months[width_bucket(month, months) + 1];
      if month is null then
        month := months[1];
        year := year + 1;
      end if;
      day := 1;
      begins := false;
    end if;
    if year > last_year then
      return null;
    end if;
    first_day := make_date(year, month, 1);
    length := make_date(year + month / 12, month % 12 + 1, 1) - first_day;
    first_weekday := extract(dow from first_day);
    while day <= length loop
      weekday := (first_weekday + day - 1) % 7;
      by_day := day = any (days)
        or fields.last_day and day = length
        or fields.last_weekday and day = length - case (first_weekday + length - 1) % 7
                                                    when 0 then 2 when 6 then 1 else 0 end;
      by_weekday := weekday = any (weekdays)
        or weekday * 10 + (day + 6) / 7 = any (nth_weekdays)
        or day + 7 > length and weekday * 10 + 9 = any (nth_weekdays);
      if by_day and by_weekday or not fields.both_days and (by_day or by_weekday) then
        h := hours[1];
        m := minutes[1];
        s := seconds[1];
        if begins then
          h := hours[width_bucket((hour - 1)::smallint, hours) + 1];
          if h = hour then
            m := minutes[width_bucket((minute - 1)::smallint, minutes) + 1];
            if m = minute then
              s := seconds[width_bucket((second - 1)::smallint, seconds) + 1];
              if s is null then
                m := minutes[width_bucket(minute, minutes) + 1];
                s := seconds[1];
              end if;
            end if;
            if m is null then
              h := hours[width_bucket(hour, hours) + 1];
              m := minutes[1];
            end if;
          end if;
        end if;
        if h is not null then
          return make_timestamp(year, month, day, h, m, s);
        end if;
      end if;
      day := day + 1;
      begins := false;
    end loop;
    year := year + month / 12;
    month := month % 12 + 1;
    day := 1;
    begins := false;
  end loop;
end
$$;
