create or replace function tidemill.add_compression_policy(
  hypertable regclass,
  compress_after anycompatible default null,
  if_not_exists boolean default false,
  schedule_interval interval default null,
  initial_start timestamptz default null,
  timezone text default null
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
begin
  if h.segments is null then
    raise exception using errcode = '0A000', message = format('compression is not enabled on hypertable "%s"', tidemill._bare_name(hypertable)),
      hint = format('First: SELECT tidemill.enable_compression(%L)', hypertable);
  elsif compress_after is null then
    raise exception using errcode = '22023', message = 'need to specify "compress_after"',
      hint = 'For instance compress_after => interval ''7 days''.';
  end if;
  return tidemill._add_policy('compression', hypertable, jsonb_build_object('compress_after', compress_after::text),
    if_not_exists,
    coalesce(schedule_interval, case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then '1 day'
      else least(interval '12 hours', h.chunk_width / 2 * interval '1 microsecond') end),
    initial_start, timezone);
end
$$;
comment on function tidemill.add_compression_policy is
$$Compresses the chunks of a hypertable when they are old, on a schedule; returns the id of the action that does it.

hypertable         a hypertable for which enable_compression was called
compress_after     chunks that end before now minus this interval are compressed; for a whole-number time, a number: chunks
                   that end before the newest time minus it
if_not_exists      true: where there is such a policy, a notice (a warning if it differs), and -1
schedule_interval  how often; default half the width of a chunk, at most 12 hours; for a whole-number time 1 day
initial_start      the first start; default now
timezone           of the schedule; default UTC

Errors: TS001 no hypertable, 0A000 compression is not enabled, 42501 not its owner, 42710 there is such a policy, 22023 no
limit, or one that does not fit the time. Behaviour follows TimescaleDB's function of that name.$$;
