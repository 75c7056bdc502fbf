select tidemill._create_pick('last',
$$
create or replace aggregate tidemill.last(value %1$s, "time" %2$s) (
  sfunc = tidemill._last_step%4$s,
  stype = %3$s,
  combinefunc = tidemill._last_merge,
  finalfunc = tidemill.%5$s,
  %6$s
  parallel = safe
)
$$,
$$Aggregate: the value of the row with the latest time.

value   any type; that of the row is returned even if it is NULL
"time"  timestamptz, timestamp, date or a whole number; rows where it is NULL do not count

If several rows have that time, it is one of theirs. NULL if no row has a time.

It reads all rows, index or not. By an index on the time, this reads one:
  SELECT value FROM t ORDER BY time DESC LIMIT 1
and SELECT DISTINCT ON (device) ... ORDER BY device, time DESC one for each device.

boolean, numbers and text are fastest; other types are kept as texts meanwhile.$$);
