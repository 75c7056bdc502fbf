create or replace function tidemill.set_chunk_time_interval(
  hypertable regclass,
  chunk_time_interval anycompatible,
  dimension_name name default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres' set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._to_lay_out(hypertable);
  before constant jsonb := tidemill._interval_in_short(h);
begin
  if chunk_time_interval is null then
    raise exception using errcode = '22023', message = 'invalid interval: an explicit interval must be specified',
      hint = 'For instance interval ''1 day''; a whole number where the time is one.';
  elsif dimension_name <> h.time_column then
    raise exception using errcode = '42703',
      message = format('hypertable "%s" is not cut by "%s"', tidemill._bare_name(hypertable), dimension_name),
      hint = format('It is cut by its time alone: leave dimension_name out, or give %I.', h.time_column);
  end if;
  h.chunk_width := tidemill._chunk_width(h.time_type, chunk_time_interval::text, pg_typeof(chunk_time_interval));
  insert into tidemill._hypertable_requests (h, verb) values (h, 'lay out h');
  if before <> tidemill._interval_in_short(h) then
    perform tidemill._note_hypertable_act(h, 'set_chunk_time_interval', before, tidemill._interval_in_short(h));
  end if;
end
$$;
comment on function tidemill.set_chunk_time_interval is
$$Sets how wide the next chunks of a hypertable are. Those that there are stay as they are, also those made ahead.

hypertable           the hypertable
chunk_time_interval  the width: as in create_hypertable
dimension_name       the time column, or NULL (default)

Errors: TS001 no hypertable, 42501 not its owner, 22023 NULL or no width, 42703 it is not cut by this column, 55P03 it was
locked for 5 seconds. Behaviour follows TimescaleDB's function of that name.$$;

create or replace function tidemill._interval_in_short(h tidemill._hypertables) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres'
as $$
  select jsonb_build_object('chunk_time_interval',
      case when v.integer_interval is null then v.time_interval::text else v.integer_interval::text end)
  from (
    select case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then h.chunk_width end as integer_interval,
      (h.chunk_width / 86400000000) * interval '1 day' + (h.chunk_width % 86400000000) * interval '1 microsecond' as time_interval
  ) v
$$;
comment on function tidemill._interval_in_short is 'How wide the next chunks are, for an act.';
