-- Keeps: for how long history is kept, by number. Each has partitions of its own, which are dropped whole.

create or replace function tidemill._keeps()
returns table (keep smallint, name text, lasts interval, chunk interval)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  values
    (1::smallint, 'day', interval '1 day', interval '4 hours'),
    (2::smallint, 'week', interval '7 days', interval '1 day'),
    (3::smallint, 'month', interval '31 days', interval '4 days'),
    (4::smallint, 'year', interval '366 days', interval '30 days'),
    (5::smallint, 'ever', null, interval '90 days')
$$;
comment on function tidemill._keeps is
  'All keeps; lasts: after this age history goes (NULL: never), chunk: the width of a partition.';

create or replace function tidemill._keep_of(keep text) returns smallint
language plpgsql stable strict set search_path = pg_catalog, pg_temp
as $$
declare
  age interval;
begin
  if lower(keep) = 'none' then
    return 0;
  elsif lower(keep) in ('forever', 'infinity') then
    return 5;
  end if;
  if not tidemill._has_unit(keep) then
    raise exception using errcode = 'invalid_parameter_value', message = format('keep %L has no unit', left(keep, 50)),
      hint = format('Write ''%1$s days'' or ''%1$s seconds''.', left(trim(keep), 50));
  end if;
  begin
    age := keep::interval;
  exception when others then
    null;
  end;
  if age is null or age <= interval '0' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('keep %L is not how long a job''s history can be kept', left(keep, 50)),
      hint = 'Give a positive interval such as ''1 day'' or ''1 week'', or ''forever'', or ''none''.';
  end if;
  -- A month counts 30 days here.
  return coalesce((select min(k.keep) from tidemill._keeps() k where k.lasts >= age), 5);
end
$$;
comment on function tidemill._keep_of is
$$The number of a keep: an interval is rounded up to a day, a week, a month or a year; more than that is forever.

0: none. Error: 22023.$$;

create or replace function tidemill._keep_text(keep smallint) returns text
language sql immutable
as $$
  select (array['none', '1 day', '1 week', '1 month', '1 year', 'forever'])[keep operator(pg_catalog.+) 1]
$$;
comment on function tidemill._keep_text is 'A keep as people read it.';

create or replace function tidemill._checked_trace(trace text) returns text
language plpgsql immutable strict
as $$
begin
  if pg_catalog.length(trace) operator(pg_catalog.>) 512 then
    raise exception using errcode = 'check_violation',
      message = pg_catalog.format('trace has %s characters, at most 512 are allowed', pg_catalog.length(trace)),
      hint = 'Give a W3C traceparent, such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.';
  end if;
  return trace;
end
$$;
