with recursive
  line as (select tidemill._read_cron(%(cron)s) as fields, coalesce(%(timezone)s, 'UTC') as timezone
    from tidemill._check_timezone(%(timezone)s)),
  starts as (
    select 1 as place, tidemill._next_cron(l.fields, l.timezone, pg_catalog.clock_timestamp()) as start from line l
    union all
    select s.place operator(pg_catalog.+) 1, tidemill._next_cron(l.fields, l.timezone, s.start)
    from starts s, line l
    where s.place operator(pg_catalog.<) %(count)s and s.start is not null
  )
select s.start,
  pg_catalog.to_char(s.start at time zone l.timezone, 'Dy YYYY-MM-DD HH24:MI:SS')
    operator(pg_catalog.||) ' ' operator(pg_catalog.||) l.timezone as clock
from starts s, line l
where s.start is not null
order by s.place
