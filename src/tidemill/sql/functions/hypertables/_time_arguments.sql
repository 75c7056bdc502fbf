-- Reading what users give for a width or a time: interval, time, whole number, or an untyped literal, which comes as text.

create or replace function tidemill._chunk_width(time_type regtype, given text, given_type regtype) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  counted constant boolean := time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype);
  is_number constant boolean := given_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) or given ~ '^[0-9]+$';
  i interval;
  width numeric;
begin
  if given is null then
    return case time_type
      when 'int2'::regtype then 10000
      when 'int4'::regtype then 100000
      when 'int8'::regtype then 1000000
      else 7 * 86400000000 end;
  end if;
  if is_number then
    width := given::numeric;
  elsif counted or given_type not in ('interval'::regtype, 'text'::regtype) then
    raise exception using errcode = '22023',
      message = format('invalid interval type for %s dimension', time_type),
      hint = case when counted then 'Give a whole number.' else 'Give an interval.' end;
  else
    i := given::interval;
    -- A month counts 30 days.
    width := ((extract(year from i) * 12 + extract(month from i)) * 30 + extract(day from i)) * 86400000000
      + (extract(hour from i) * 3600 + extract(minute from i) * 60) * 1000000 + extract(microseconds from i);
  end if;
  if width <= 0 or width > (case time_type when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647
      else 9223372036854775807 end)
  then
    raise exception using errcode = '22023',
      message = format('invalid chunk interval: %s', given),
      hint = format('It must be greater than 0, and fit into the type %s.', time_type);
  end if;
  if time_type = 'date'::regtype and width % 86400000000 <> 0 then
    raise exception using errcode = '22023',
      message = format('invalid chunk interval: %s', given),
      hint = 'The chunks of a date column are whole days wide.';
  end if;
  return width;
end
$$;
comment on function tidemill._chunk_width is
  'The width of chunks that a user gave, as text and type: microseconds, or whole numbers. Error: 22023 it is no width.';

create or replace function tidemill._time_bound(time_type regtype, given text, given_type regtype) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  counted constant boolean := time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype);
  kind regtype := given_type;
  at text := given;
  units bigint;
begin
  if given is null then
    return null;
  end if;
  if kind in ('varchar'::regtype, 'text'::regtype) then
    kind := case when counted then 'int8'::regtype else tidemill._literal_kind(given, time_type) end;
  end if;
  if counted <> (kind in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
    or kind not in ('interval'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype,
      'int2'::regtype, 'int4'::regtype, 'int8'::regtype)
  then
    raise exception using errcode = '22023',
      message = format('invalid time argument type "%s"', given_type),
      hint = format('Try casting the argument to "%s".', time_type);
  end if;
  if kind = 'interval'::regtype then
    at := (now() - given::interval)::text;
    kind := 'timestamptz';
  end if;
  if at in ('infinity', '-infinity') then
    return case at when 'infinity' then 9223372036854775807 else -9223372036854775808 end;
  end if;
  if counted then
    -- The last chunk of a small type ends behind it.
    return at::bigint;
  end if;
  execute 'select ' || tidemill._time_units(time_type, format('%L::%s::%s', at, kind, time_type)) into units;
  return units;
end
$$;
comment on function tidemill._time_bound is
  'A time that a user gave, as text and type, counted; an interval is that long ago. Error: 22023 the type does not fit.';

create or replace function tidemill._literal_kind(given text, time_type regtype) returns regtype
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('select %L::%s', given, time_type);
  return time_type;
exception when data_exception then
  if not tidemill._has_unit(given) then
    raise exception using errcode = '22023', message = format('"%s" has no unit', given),
      hint = format('Write ''%1$s days'' or ''%1$s seconds''.', trim(given));
  end if;
  begin
    perform given::interval;
    return 'interval'::regtype;
  exception when data_exception then
    raise exception using errcode = '22023',
      message = format('neither a time nor an interval: "%s"', given),
      hint = 'Write it like ''2026-01-31 12:00+00'' or ''3 months''.';
  end;
end
$$;
comment on function tidemill._literal_kind is 'What a literal is: the type of the time column, or else interval.';
