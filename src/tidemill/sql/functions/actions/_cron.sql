-- Cron lines: read once into tidemill._cron_fields, then asked for the next time.

create or replace function tidemill._refuse_cron(expression text, problem text, hint text) returns void
language plpgsql immutable
as $$
#variable_conflict use_variable
begin
  raise exception using errcode = 'invalid_parameter_value',
    message = format('cron "%s": %s', left(expression, 200), problem), hint = hint;
end
$$;

-- One number or name; item is what it stands in.
create or replace function tidemill._cron_number(
  expression text, field text, item text, token text, low integer, high integer, names text[], hint text
) returns integer
language plpgsql immutable
as $$
#variable_conflict use_variable
declare
  place text := format(case when item = token then '%s "%s"' else '%s "%s": "%s"' end, field, item, token);
begin
  if token = any (names) then
    return array_position(names, token) - 1 + low;
  elsif token !~ '^[0-9]+$' then
    perform tidemill._refuse_cron(
      expression, place || ' is not a number' || case when names is null then '' else ' or a name' end, hint);
  elsif length(token) > 4 or token::integer not between low and high then
    perform tidemill._refuse_cron(expression, format('%s is not between %s and %s', place, low, high), hint);
  end if;
  return token::integer;
end
$$;

-- One item of a field's list, without the items that depend on the month.
create or replace function tidemill._cron_values(
  expression text, field text, item text, low integer, high integer, names text[], hint text
) returns integer[]
language plpgsql immutable
as $$
#variable_conflict use_variable
declare
  head text := split_part(item, '/', 1);
  stepped boolean := item like '%/%';
  step text := case when item like '%/%' then substr(item, strpos(item, '/') + 1) else '1' end;
  least_value integer := low;
  greatest_value integer := high;
begin
  if step !~ '^[0-9]{1,4}$' or step::integer = 0 then
    perform tidemill._refuse_cron(
      expression, format('%s "%s": the step "%s" is not a number from 1 on', field, item, step), hint);
  end if;
  if head like '%-%' then
    least_value := tidemill._cron_number(
      expression, field, item, split_part(head, '-', 1), low, high, names, hint);
    greatest_value := tidemill._cron_number(
      expression, field, item, substr(head, strpos(head, '-') + 1), low, high, names, hint);
    if greatest_value = 0 and least_value > 0 and head like '%-SUN' then
      greatest_value := 7;
    elsif greatest_value < least_value then
      perform tidemill._refuse_cron(
        expression, format('%s "%s": the range runs backwards', field, item),
        format('Write it as two: %s-%s,%s-%s.',
               split_part(head, '-', 1), high, low, substr(head, strpos(head, '-') + 1)));
    end if;
  elsif head <> '*' then
    least_value := tidemill._cron_number(expression, field, item, head, low, high, names, hint);
    if not stepped then
      greatest_value := least_value;
    end if;
  end if;
  return array(select generate_series(least_value, greatest_value, step::integer));
end
$$;

create or replace function tidemill._read_cron(expression text) returns tidemill._cron_fields
language plpgsql immutable strict set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  line text := upper(btrim(expression, E' \t\r\n') collate "C");
  texts text[];
  labels constant text[] := array['second', 'minute', 'hour', 'day-of-month', 'month', 'day-of-week'];
  lows constant integer[] := array[0, 0, 0, 1, 1, 0];
  highs constant integer[] := array[59, 59, 23, 31, 12, 7];
  month_names constant text[] :=
    array['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
  day_names constant text[] := array['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
  names text[];
  hint text;
  item text;
  number integer;
  found_values integer[];
  fields tidemill._cron_fields;
begin
  if line like '@%' then
    texts := string_to_array(
      case line
        when '@YEARLY' then '0 0 1 1 *'
        when '@ANNUALLY' then '0 0 1 1 *'
        when '@MONTHLY' then '0 0 1 * *'
        when '@WEEKLY' then '0 0 * * 0'
        when '@DAILY' then '0 0 * * *'
        when '@MIDNIGHT' then '0 0 * * *'
        when '@HOURLY' then '0 * * * *'
      end, ' ');
    if texts is null then
      perform tidemill._refuse_cron(
        expression, 'this nickname is unknown',
        'Use @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly.');
    end if;
  else
    texts := regexp_split_to_array(line, '\s+');
  end if;
  if line = '' or cardinality(texts) not in (5, 6) then
    perform tidemill._refuse_cron(
      expression, format('it has %s fields', case line when '' then 0 else cardinality(texts) end),
      'Give minute, hour, day-of-month, month and day-of-week; before these, if you like, second.');
  end if;
  -- As in Debian's cron: jobs at fixed times go by the clock on the wall, others by real time.
  fields.by_wall_clock := cardinality(texts) = 5 and texts[1] not like '*%' and texts[2] not like '*%';
  if cardinality(texts) = 5 then
    texts := array_prepend('0', texts);
  end if;
  -- Also as there: days must be in both fields if one of them begins with a star, else in either.
  fields.both_days := texts[4] like '*%' or texts[6] like '*%';
  fields.last_day := false;
  fields.last_weekday := false;
  fields.nth_weekdays := '{}';

  for i in 1..6 loop
    names := case i when 5 then month_names when 6 then day_names end;
    hint := format('Use %s to %s%s, *, and of these lists (1,2), ranges (1-5) and steps (*/5).', lows[i], highs[i],
      case i
        when 4 then ', L for the last day, LW for the last weekday'
        when 5 then ', JAN to DEC'
        when 6 then ', SUN to SAT, 5L for the last Friday, MON#2 for the second Monday'
      end);
    found_values := '{}';
    foreach item in array string_to_array(texts[i], ',') loop
      if i = 4 and item = 'L' then
        fields.last_day := true;
      elsif i = 4 and item = 'LW' then
        fields.last_weekday := true;
      elsif i = 6 and item like '_%L' then
        number := tidemill._cron_number(
          expression, labels[i], item, left(item, -1), lows[i], highs[i], names, hint);
        fields.nth_weekdays := fields.nth_weekdays || (number % 7 * 10 + 9)::smallint;
      elsif i = 6 and item like '%#%' then
        if item !~ '#[1-5]$' then
          perform tidemill._refuse_cron(
            expression, format('%s "%s": after # comes a number from 1 to 5', labels[i], item), hint);
        end if;
        number := tidemill._cron_number(
          expression, labels[i], item, left(item, -2), lows[i], highs[i], names, hint);
        fields.nth_weekdays := fields.nth_weekdays || (number % 7 * 10 + right(item, 1)::integer)::smallint;
      else
        found_values := found_values
          || tidemill._cron_values(expression, labels[i], item, lows[i], highs[i], names, hint);
      end if;
    end loop;
    -- Sunday is 0 and 7.
    found_values := array(
      select distinct case i when 6 then v % 7 else v end as value from unnest(found_values) v order by value);
    case i
      when 1 then fields.seconds := found_values;
      when 2 then fields.minutes := found_values;
      when 3 then fields.hours := found_values;
      when 4 then fields.days := found_values;
      when 5 then fields.months := found_values;
      else fields.weekdays := found_values;
    end case;
  end loop;

  -- In 50 years every date of the calendar falls on every day of the week.
  if tidemill._cron_wall(fields, timestamp '1999-12-31') is null then
    perform tidemill._refuse_cron(
      expression,
      format('day-of-month "%s", month "%s" and day-of-week "%s" never meet', texts[4], texts[5], texts[6]),
      'Give days that the months have.');
  end if;
  return fields;
end
$$;
comment on function tidemill._read_cron is
$$Reads a cron line of five fields, of six (seconds first), or a nickname.

Fields, case ignored: *, numbers, names, lists, ranges, steps; L and LW as day-of-month,
5L and MON#2 as day-of-week, where Sunday is 0 or 7. Raises 22023 with a hint.$$;

-- The first time after another that the fields name, on a clock that nobody turns; NULL: none in 50 years.
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
  -- Of the day that the search begins on.
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
      -- width_bucket counts the members of a sorted array up to a number.
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

-- When the zone's clocks are turned, at a full second, between two instants of different offsets.
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

-- When the zone's clocks first show a time or, where they skip it, when they do.
create or replace function tidemill._first_instant(wall timestamp, zone text) returns timestamptz
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  -- Of two instants PostgreSQL takes the later one. Skipped times it reads by the offset before the turn.
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

-- The same interval without days, which would count on the clocks of the session's time zone.
create or replace function tidemill._elapsed(length interval) returns interval
language sql immutable
as $$
  select make_interval(secs => extract(epoch from length)::double precision)
$$;

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
    -- If clocks are turned back before they have shown all of this again, the hour that they repeat counts.
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
        -- Clocks skip it: go on with what they show next.
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
begins with a star) name times on the wall: one that clocks skip comes right at the
turn, one that they show twice comes the first time. Other lines follow real time:
what clocks skip does not come, what they show twice comes twice. As in Debian's cron.$$;
