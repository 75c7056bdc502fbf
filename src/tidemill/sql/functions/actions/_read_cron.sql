-- Cron lines as they are written: read once, into tidemill._cron_fields.

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
    texts := regexp_split_to_array(line, E'\\s+');
  end if;
  if line = '' or cardinality(texts) not in (5, 6) then
    perform tidemill._refuse_cron(
      expression, format('it has %s fields', case line when '' then 0 else cardinality(texts) end),
      'Give minute, hour, day-of-month, month and day-of-week; before these, if you like, second.');
  end if;
  -- As in Debian's cron: lines with fixed times follow the clock on the wall, others real time.
  fields.by_wall_clock := cardinality(texts) = 5 and texts[1] not like '*%' and texts[2] not like '*%';
  if cardinality(texts) = 5 then
    texts := array_prepend('0', texts);
  end if;
  -- As in Debian's cron: if one of the day fields begins with a star, a day must be in both, else in either.
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

-- The values of one item in a field's list; not for items that depend on the month (L, MON#2).
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

-- The value of one number or name; item is the text around it, for messages.
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

create or replace function tidemill._refuse_cron(expression text, problem text, hint text) returns void
language plpgsql immutable
as $$
#variable_conflict use_variable
begin
  raise exception using errcode = 'invalid_parameter_value',
    message = format('cron "%s": %s', left(expression, 200), problem), hint = hint;
end
$$;
