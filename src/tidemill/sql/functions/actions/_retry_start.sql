-- When an action starts next after a failure.

create or replace function tidemill._retry_start(
  a tidemill._actions, finished_at timestamptz, failures integer, jitter double precision
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  slot timestamptz;
  following timestamptz;
  period double precision := extract(epoch from a.retry_period);
  cap double precision;
  start timestamptz;
begin
  if a.cron is not null or a.fixed_schedule then
    slot := tidemill._next_slot(a, finished_at);
  end if;
  if a.cron is null then
    cap := 5 * extract(epoch from a.schedule_interval);
  else
    following := tidemill._next_slot(a, slot);
    if isfinite(following) then
      cap := 5 * extract(epoch from following - slot);
    end if;
  end if;
  begin
    start := finished_at
             + interval '1 second' * (least(period * least(greatest(failures, 1), 20), cap) * (1 + jitter));
  exception when datetime_field_overflow or interval_field_overflow or numeric_value_out_of_range then
    begin
      start := finished_at + interval '1 second' * period;
    exception when datetime_field_overflow or interval_field_overflow or numeric_value_out_of_range then
      start := 'infinity';
    end;
  end;
  return least(start, slot);
end
$$;
comment on function tidemill._retry_start is
$$When an action runs again after `failures` failures in a row, of which the last one ended at finished_at.

finished_at + least(retry_period * least(failures, 20), 5 * schedule_interval) * (1 + jitter),
in elapsed time; on a fixed grid or by cron no later than the next slot. With cron the
interval is the time between the next two slots. The formula is TimescaleDB's.$$;

create or replace function tidemill._jitter() returns double precision
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select (floor(random() * 32) - 15) / 128
$$;
comment on function tidemill._jitter is 'One of -15/128, -14/128 ... 16/128, each as likely.';
