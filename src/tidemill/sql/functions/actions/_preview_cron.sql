create or replace function tidemill._preview_cron(cron text, timezone text, count integer)
returns table (start timestamptz, clock text)
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with recursive
    line as (
      select tidemill._read_cron(cron) as fields, coalesce(timezone, 'UTC') as timezone
      from tidemill._check_timezone(timezone)
    ),
    starts as (
      select 1 as place, tidemill._next_cron(l.fields, l.timezone, clock_timestamp()) as start from line l
      union all
      select s.place + 1, tidemill._next_cron(l.fields, l.timezone, s.start)
      from starts s, line l
      where s.place < count and s.start is not null
    )
  select s.start, to_char(s.start at time zone l.timezone, 'Dy YYYY-MM-DD HH24:MI:SS') || ' ' || l.timezone
  from starts s, line l
  where s.start is not null
  order by s.place
$$;
comment on function tidemill._preview_cron is
  'The next starts of a cron line. It reads no table, so each role that works with actions may call it.';
