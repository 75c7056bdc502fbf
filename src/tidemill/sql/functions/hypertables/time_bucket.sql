-- Buckets of time. Each overload is inlined, and for a constant width without months nothing but date_bin is left:
-- no SET clause, nothing STABLE. NULL arguments give NULL, without STRICT, which would prevent inlining.

create or replace function tidemill.time_bucket(bucket_width interval, ts timestamptz)
returns timestamptz
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width)
  then date_bin(bucket_width, ts, timestamptz '2000-01-03 00:00+00')
  else timezone('UTC', tidemill._month_bucket(bucket_width, timezone('UTC', ts), timestamp '2000-01-01', interval '0')) end;

create or replace function tidemill.time_bucket(bucket_width interval, ts timestamptz, origin timestamptz)
returns timestamptz
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width)
  then date_bin(bucket_width, ts, origin)
  else timezone('UTC', tidemill._month_bucket(bucket_width, timezone('UTC', ts), timezone('UTC', origin), interval '0')) end;

create or replace function tidemill.time_bucket(bucket_width interval, ts timestamptz, "offset" interval)
returns timestamptz
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width)
  then date_bin(bucket_width, ts, timezone('UTC', timestamp '2000-01-03' + "offset"))
  else timezone('UTC', tidemill._month_bucket(bucket_width, timezone('UTC', ts), timestamp '2000-01-01', "offset")) end;

create or replace function tidemill.time_bucket(
  bucket_width interval, ts timestamptz, timezone text, origin timestamptz default null, "offset" interval default null
)
returns timestamptz
language sql immutable parallel safe
return tidemill._bucket_instant(
  case when tidemill._is_fixed_width(bucket_width)
    then date_bin(bucket_width, timezone(timezone, ts),
      coalesce(timezone(timezone, origin), timestamp '2000-01-03') + coalesce("offset", interval '0'))
    else tidemill._month_bucket(bucket_width, timezone(timezone, ts),
      coalesce(timezone(timezone, origin), timestamp '2000-01-01'), coalesce("offset", interval '0')) end,
  timezone, ts, bucket_width);

create or replace function tidemill.time_bucket(bucket_width interval, ts timestamp)
returns timestamp
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width)
  then date_bin(bucket_width, ts, timestamp '2000-01-03')
  else tidemill._month_bucket(bucket_width, ts, timestamp '2000-01-01', interval '0') end;

create or replace function tidemill.time_bucket(bucket_width interval, ts timestamp, origin timestamp)
returns timestamp
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width)
  then date_bin(bucket_width, ts, origin)
  else tidemill._month_bucket(bucket_width, ts, origin, interval '0') end;

create or replace function tidemill.time_bucket(bucket_width interval, ts timestamp, "offset" interval)
returns timestamp
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width)
  then date_bin(bucket_width, ts, timestamp '2000-01-03' + "offset")
  else tidemill._month_bucket(bucket_width, ts, timestamp '2000-01-01', "offset") end;

create or replace function tidemill.time_bucket(bucket_width interval, ts date)
returns date
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width) and tidemill._is_whole_days(bucket_width)
  then date_bin(bucket_width, ts::timestamp, timestamp '2000-01-03')::date
  else tidemill._month_bucket(bucket_width, ts::timestamp, timestamp '2000-01-01', interval '0', true)::date end;

create or replace function tidemill.time_bucket(bucket_width interval, ts date, origin date)
returns date
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width) and tidemill._is_whole_days(bucket_width)
  then date_bin(bucket_width, ts::timestamp, origin::timestamp)::date
  else tidemill._month_bucket(bucket_width, ts::timestamp, origin::timestamp, interval '0', true)::date end;

create or replace function tidemill.time_bucket(bucket_width interval, ts date, "offset" interval)
returns date
language sql immutable parallel safe
return case when tidemill._is_fixed_width(bucket_width) and tidemill._is_whole_days(bucket_width) and tidemill._is_whole_days("offset")
  then date_bin(bucket_width, ts::timestamp, timestamp '2000-01-03' + "offset")::date
  else tidemill._month_bucket(bucket_width, ts::timestamp, timestamp '2000-01-01', "offset", true)::date end;

create or replace function tidemill.time_bucket(bucket_width smallint, ts smallint)
returns smallint
language sql immutable parallel safe
return case
    when bucket_width > 0 and ts % bucket_width >= 0 then ts - ts % bucket_width
    when bucket_width > 0 then ts - (ts % bucket_width + bucket_width)
    else tidemill._refuse_bucket_width(bucket_width)::smallint end;

create or replace function tidemill.time_bucket(bucket_width smallint, ts smallint, "offset" smallint)
returns smallint
language sql immutable parallel safe
return case
    when bucket_width > 0 and (ts % bucket_width - "offset" % bucket_width) % bucket_width >= 0
      then ts - (ts % bucket_width - "offset" % bucket_width) % bucket_width
    when bucket_width > 0 then ts - ((ts % bucket_width - "offset" % bucket_width) % bucket_width + bucket_width)
    else tidemill._refuse_bucket_width(bucket_width)::smallint end;

create or replace function tidemill.time_bucket(bucket_width integer, ts integer)
returns integer
language sql immutable parallel safe
return case
    when bucket_width > 0 and ts % bucket_width >= 0 then ts - ts % bucket_width
    when bucket_width > 0 then ts - (ts % bucket_width + bucket_width)
    else tidemill._refuse_bucket_width(bucket_width)::integer end;

create or replace function tidemill.time_bucket(bucket_width integer, ts integer, "offset" integer)
returns integer
language sql immutable parallel safe
return case
    when bucket_width > 0 and (ts % bucket_width - "offset" % bucket_width) % bucket_width >= 0
      then ts - (ts % bucket_width - "offset" % bucket_width) % bucket_width
    when bucket_width > 0 then ts - ((ts % bucket_width - "offset" % bucket_width) % bucket_width + bucket_width)
    else tidemill._refuse_bucket_width(bucket_width)::integer end;

create or replace function tidemill.time_bucket(bucket_width bigint, ts bigint)
returns bigint
language sql immutable parallel safe
return case
    when bucket_width > 0 and ts % bucket_width >= 0 then ts - ts % bucket_width
    when bucket_width > 0 then ts - (ts % bucket_width + bucket_width)
    else tidemill._refuse_bucket_width(bucket_width) end;

create or replace function tidemill.time_bucket(bucket_width bigint, ts bigint, "offset" bigint)
returns bigint
language sql immutable parallel safe
return case
    when bucket_width > 0 and (ts % bucket_width - "offset" % bucket_width) % bucket_width >= 0
      then ts - (ts % bucket_width - "offset" % bucket_width) % bucket_width
    when bucket_width > 0 then ts - ((ts % bucket_width - "offset" % bucket_width) % bucket_width + bucket_width)
    else tidemill._refuse_bucket_width(bucket_width) end;

comment on function tidemill.time_bucket(interval, timestamptz) is
$$The start of the bucket into which a time falls.

bucket_width  width of the buckets, above zero: days, hours and less; or months and years; or a whole number
ts            the time: timestamptz, timestamp, date, or a whole number
timezone      buckets follow the clocks of this time zone. Without it, those of timestamptz are in UTC
origin        where a bucket starts; default Monday 2000-01-03, and 2000-01-01 for months. Whole numbers: 0
"offset"      moves the buckets

Give origin or "offset", with timezone both. Returns a value of the type of ts, never after it. NULL gives NULL,
an infinite time itself. Without months and time zone it costs what date_bin costs.

With timezone: a start that clocks show twice is the first one for buckets of a day or longer; shorter buckets have
each hour apart. A start that clocks skip is when they are turned.

Errors: 22023 a width that is not above zero, a part of a day where ts is a date, an unknown time zone;
0A000 months together with days or hours; 22008 and 22003 a bucket that would start before all times.$$;

-- All overloads have this page.
do $$
declare
  page constant text := obj_description('tidemill.time_bucket(interval, timestamptz)'::regprocedure, 'pg_proc');
  overload regprocedure;
begin
  for overload in
    select p.oid from pg_proc p where p.pronamespace = 'tidemill'::regnamespace and p.proname = 'time_bucket'
  loop
    execute format('comment on function %s is %L', overload, page);
  end loop;
end
$$;
