-- The parts of tidemill.time_bucket. Those in SQL are inlined: with a constant width all of them fold away. Their
-- bodies are parsed here, under the installer's search path, so that it never matters what the caller's is.

create or replace function tidemill._is_fixed_width(width interval) returns boolean
language sql immutable parallel safe
return extract(year from width) = 0 and extract(month from width) = 0 and width > interval '0';
comment on function tidemill._is_fixed_width is 'Whether date_bin can count in this width: above zero, and without months.';

create or replace function tidemill._is_whole_days(length interval) returns boolean
language sql immutable parallel safe
return mod(extract(epoch from length - date_trunc('day', length)), 86400) = 0;
comment on function tidemill._is_whole_days is 'Whether a length has no hours, minutes and seconds, apart from those that make up days.';

create or replace function tidemill._month_bucket(
  width interval, ts timestamp, origin timestamp, "offset" interval, whole_days boolean default false
) returns timestamp
-- Without a SET clause, which would double what a row costs. It calls none of ours: the caller may not see our schema.
language plpgsql immutable strict parallel safe
as $$
#variable_conflict use_variable
declare
  months integer;
  shifted timestamp;
  apart integer;
  start timestamp;
begin
  if width operator(pg_catalog.<=) interval '0' then
    raise exception using errcode = '22023', message = 'period must be greater than 0',
      hint = 'Give the width of a bucket, such as ''1 hour''.';
  elsif not pg_catalog.isfinite(width) then
    raise exception using errcode = '22023', message = 'period must be finite',
      hint = 'Give the width of a bucket, such as ''1 hour''.';
  elsif whole_days
    and not (pg_catalog.mod(extract(epoch from width operator(pg_catalog.-) pg_catalog.date_trunc('day', width)), 86400)
               operator(pg_catalog.=) 0
             and pg_catalog.mod(extract(epoch from "offset" operator(pg_catalog.-) pg_catalog.date_trunc('day', "offset")), 86400)
               operator(pg_catalog.=) 0)
  then
    raise exception using errcode = '22023', message = 'interval must not have sub-day precision',
      hint = 'Dates fall into buckets of whole days. Cast the date to timestamp for shorter ones.';
  end if;
  months := (extract(year from width) operator(pg_catalog.*) 12) operator(pg_catalog.+) extract(month from width);
  if extract(day from width) operator(pg_catalog.<>) 0
    or width operator(pg_catalog.<>) pg_catalog.make_interval(months => months)
  then
    raise exception using errcode = '0A000', message = 'month intervals cannot have day or time component',
      hint = 'Give months and years alone, or days and hours alone.';
  elsif not pg_catalog.isfinite(ts) then
    return ts;
  elsif not pg_catalog.isfinite(origin) then
    raise exception using errcode = '22008', message = 'origin out of range', hint = 'Give a finite time.';
  end if;
  shifted := ts operator(pg_catalog.-) "offset";
  -- There is no year 0: 1 BC is -1.
  apart := (((extract(year from shifted) operator(pg_catalog.-) extract(year from origin)) operator(pg_catalog.*) 12)
      operator(pg_catalog.+) extract(month from shifted)) operator(pg_catalog.-) extract(month from origin);
  if extract(year from shifted) operator(pg_catalog.<) 0 then
    apart := apart operator(pg_catalog.+) 12;
  end if;
  if extract(year from origin) operator(pg_catalog.<) 0 then
    apart := apart operator(pg_catalog.-) 12;
  end if;
  -- Rounded down, for months before the origin.
  apart := apart operator(pg_catalog.-)
    (((apart operator(pg_catalog.%) months) operator(pg_catalog.+) months) operator(pg_catalog.%) months);
  start := origin operator(pg_catalog.+) pg_catalog.make_interval(months => apart);
  if start operator(pg_catalog.>) shifted then
    -- The same month, before the origin's day. Counted from the origin: its day 31 does not get lost in February.
    start := origin operator(pg_catalog.+) pg_catalog.make_interval(months => apart operator(pg_catalog.-) months);
  end if;
  return start operator(pg_catalog.+) "offset";
end
$$;
comment on function tidemill._month_bucket is
$$tidemill.time_bucket for a width in months, and where a width is refused.

Buckets start at origin + k * width; an origin late in its month gives the last day of shorter ones.$$;

create or replace function tidemill._bucket_instant(
  start timestamp, timezone text, ts timestamptz, width interval
) returns timestamptz
language plpgsql immutable strict parallel safe
as $$
#variable_conflict use_variable
declare
  instant pg_catalog.timestamptz := pg_catalog.timezone(timezone, start);
  shown timestamp := pg_catalog.timezone(timezone, instant);
  earlier pg_catalog.timestamptz;
  half pg_catalog.timestamptz;
begin
  if not pg_catalog.isfinite(start) then
    return instant;
  elsif width operator(pg_catalog.<=) interval '1 hour' then
    -- No clock is turned twice within it: so its start is as far back as the clock at ts shows.
    return ts operator(pg_catalog.-) (pg_catalog.timezone(timezone, ts) operator(pg_catalog.-) start);
  elsif shown operator(pg_catalog.<>) start then
    -- Clocks skip the start: it is when they are turned, which is between these two.
    earlier := instant operator(pg_catalog.-) (shown operator(pg_catalog.-) start);
    while instant operator(pg_catalog.-) earlier operator(pg_catalog.>) interval '1 microsecond' loop
      half := earlier operator(pg_catalog.+) ((instant operator(pg_catalog.-) earlier) operator(pg_catalog./) 2);
      if pg_catalog.timezone(timezone, half) operator(pg_catalog.>=) start then
        instant := half;
      else
        earlier := half;
      end if;
    end loop;
    return instant;
  elsif width operator(pg_catalog.<) interval '1 day' and instant operator(pg_catalog.<=) ts then
    return instant;
  end if;
  -- PostgreSQL takes the later one of two instants that clocks show alike.
  earlier := instant operator(pg_catalog.-) interval '24 hours';
  earlier := instant operator(pg_catalog.-) ((pg_catalog.timezone(timezone, earlier) operator(pg_catalog.+) interval '24 hours')
                                             operator(pg_catalog.-) start);
  if earlier operator(pg_catalog.<) instant and pg_catalog.timezone(timezone, earlier) operator(pg_catalog.=) start then
    return earlier;
  end if;
  return instant;
end
$$;
comment on function tidemill._bucket_instant is
$$When the bucket of ts starts, which clocks show as start.

If they show it twice: the first time, where buckets are days or longer; else the last one that is not after ts, so
that both hours have buckets of their own. If they skip it: when they are turned. Buckets of an hour or less have that
length, also where clocks are turned within one.$$;

create or replace function tidemill._refuse_bucket_width(width bigint) returns bigint
language plpgsql immutable strict parallel safe
as $$
begin
  raise exception using errcode = '22023', message = 'period must be greater than 0',
    hint = 'Give the width of a bucket in the unit of the time.';
end
$$;
comment on function tidemill._refuse_bucket_width is 'Raises 22023; NULL for NULL.';
