-- Which texts are names of time zones, and which name is meant by one that is not.

create or replace function tidemill._check_timezone(timezone text) returns void
language plpgsql stable strict set search_path = pg_catalog, pg_temp
-- Workers may lack the abbreviations that this session has.
set timezone_abbreviations = 'Default'
as $$
#variable_conflict use_variable
declare
  shown timestamp;
  behind interval;
begin
  begin
    shown := timestamptz '2000-01-01 00:00:00+00' at time zone timezone;
    if timezone !~ '[0-9]' or tidemill._is_timezone_with_digits(timezone) then
      return;
    end if;
  exception when invalid_parameter_value then
    null;
  end;
  -- Such as Europe/Berlin1, which would be a zone of that name, one hour west of Greenwich.
  behind := timestamp '2000-01-01 00:00:00' - shown;
  raise exception using errcode = 'invalid_parameter_value',
    message = format('time zone "%s" not recognized', timezone),
    detail = case
      when behind <> interval '0' then format(
        'PostgreSQL would read its number as POSIX does, and show times that are %s %s UTC.',
        to_char(greatest(behind, -behind), 'FMHH24:MI'), case when behind > '0' then 'behind' else 'ahead of' end)
      else 'The view pg_timezone_names has no such name.' end,
    hint = tidemill._timezone_hint(timezone);
end
$$;
comment on function tidemill._check_timezone is
$$Refuses what is no name of a time zone with 22023, and says which one is meant.

Names are those of pg_timezone_names, and abbreviations. POSIX zones such as UTC+2 or CET6 are refused:
their numbers count hours westwards, the opposite of what people mean.$$;

create or replace function tidemill._is_timezone_with_digits(timezone text) returns boolean
language sql stable set search_path = pg_catalog, pg_temp set standard_conforming_strings = on
as $$
  -- The view reads a file for each zone, which takes 50 ms.
  select timezone ~* '^(etc/gmt(\+([0-9]|1[0-2])|-([0-9]|1[0-4])|0)|gmt[+-]?0|est5edt|cst6cdt|mst7mdt|pst8pdt)$'
    or exists (select from pg_timezone_names n where lower(n.name) = lower(timezone))
$$;

create or replace function tidemill._timezone_hint(timezone text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set standard_conforming_strings = on
as $$
#variable_conflict use_variable
declare
  -- An offset by itself or after UTC: sign, hours, minutes.
  parts constant text[] := regexp_match(
    translate(timezone, U&'\2212\2013', '--'), '^\s*(?:utc|gmt|z)?\s*([+-]?)\s*([0-9]{1,2})(?::?([0-5][0-9]))?(?::?00)?\s*$', 'i');
  minutes integer := parts[2]::integer * 60 + coalesce(parts[3]::integer, 0);
  meant text;
begin
  if parts[1] = '-' then
    minutes := -minutes;
  end if;
  if minutes = 0 then
    return 'Use UTC.';
  elsif minutes % 60 = 0 and minutes between -720 and 840 then
    return format(
      'For %s hours %s UTC all year use Etc/GMT%s; for the clocks of a place its name, such as Europe/Berlin.',
      abs(minutes / 60), case when minutes > 0 then 'ahead of' else 'behind' end,
      case when minutes > 0 then '-' else '+' end || abs(minutes / 60));
  elsif minutes is not null then
    select min(n.name) into meant from pg_timezone_names n
      where n.utc_offset = make_interval(mins => minutes) and n.name ~ '^[A-Z][a-z]+/[A-Z]';
  else
    meant := tidemill._meant_timezone(timezone);
  end if;
  if meant is null then
    return 'Use the name of a place, such as Europe/Berlin, or UTC.';
  end if;
  return format('Is %s meant?', meant);
end
$$;
comment on function tidemill._timezone_hint is 'What to write instead of a text that is no time zone.';

create or replace function tidemill._meant_timezone(timezone text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select n.name
  -- Of a POSIX zone such as CET-1CEST,M3.5.0 its first letters.
  from (values (tidemill._letter_pairs(
      coalesce(substring(timezone from '^([A-Za-z]{3,})[+-]?[0-9]'), timezone)))) w (pairs),
    pg_timezone_names n,
    lateral (values (greatest(
      tidemill._likeness(w.pairs, n.name),
      -- A place without its continent.
      tidemill._likeness(w.pairs, substring(n.name from '[^/]*$')) - 0.01))) l (likeness)
  where l.likeness >= 0.6
  order by l.likeness desc, n.name
  limit 1
$$;
comment on function tidemill._meant_timezone is 'The name of a time zone that a text is most like; NULL if none is.';
