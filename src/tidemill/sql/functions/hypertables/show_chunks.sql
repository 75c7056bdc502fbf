create or replace function tidemill.show_chunks(
  relation regclass,
  older_than anycompatible default null,
  newer_than anycompatible default null,
  created_before timestamptz default null,
  created_after timestamptz default null
) returns setof regclass
-- What is passed on as text reads the same in these styles, whatever the session's are.
language plpgsql stable set search_path = pg_catalog, pg_temp set datestyle = 'ISO' set intervalstyle = 'postgres'
as $$
begin
  if relation is null then
    raise exception using errcode = '42P01', message = 'invalid hypertable', hint = 'Name a hypertable.';
  end if;
  return query
    select c.relation from tidemill._chunks_between(tidemill._hypertable(relation),
      older_than::text, newer_than::text, pg_typeof(older_than), created_before, created_after) c;
end
$$;
comment on function tidemill.show_chunks is
$$The chunks of a hypertable, by their time; without the default partition.

relation        the hypertable
older_than      only chunks that end at or before this time
newer_than      only chunks that begin at or after this time
created_before  only chunks that were made before it
created_after   only chunks that were made then or later

Times are given as the time column's type, or as an interval before now. The two may be of different kinds (an
interval and a time) as literals without a type: '3 months', '2026-01-31'.

Errors: TS001 not a hypertable, 42P01 NULL, 22023 no such time, an empty range, or both kinds of limits.$$;

create or replace function tidemill._chunks_between(
  h tidemill._hypertables, older_than text, newer_than text, given_type regtype, created_before timestamptz, created_after timestamptz)
returns setof tidemill._chunks
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  high constant bigint := tidemill._time_bound(h.time_type, older_than, given_type);
  low constant bigint := tidemill._time_bound(h.time_type, newer_than, given_type);
begin
  if (high is not null or low is not null) and (created_before is not null or created_after is not null) then
    raise exception using errcode = '22023',
      message = 'cannot specify "older_than" or "newer_than" together with "created_before" or "created_after"',
      hint = 'Choose chunks by their time, or by when they were made.';
  end if;
  if high <= low or created_before <= created_after then
    raise exception using errcode = '22023', message = 'invalid time range',
      hint = 'The start of the time range must be before the end.';
  end if;
  return query
    select c.* from tidemill._chunks c
    where c.hypertable_id = h.id
      and (high is null or c.range_end <= high) and (low is null or c.range_start >= low)
      and (created_before is null or c.created_at < created_before)
      and (created_after is null or c.created_at >= created_after)
    order by c.range_start;
end
$$;
comment on function tidemill._chunks_between is 'Chunks by their times, as show_chunks takes them, but as text with one type.';
