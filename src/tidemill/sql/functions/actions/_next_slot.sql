-- When an action is due next: after a run, and after a failure.

create or replace function tidemill._next_slot(a tidemill._actions, after timestamptz) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  zone text := coalesce(a.timezone, 'UTC');
  months integer;
  days integer;
  calendar interval;
  slot timestamptz := after;
begin
  if a.cron is not null then
    return coalesce(
      tidemill._next_cron(
        a.cron_fields, a.timezone, greatest(after, a.initial_start - interval '1 microsecond')),
      'infinity');
  elsif a.fixed_schedule then
    return coalesce(tidemill.next_start(a.schedule_interval, a.initial_start, a.timezone, after), 'infinity');
  elsif not isfinite(a.schedule_interval) then
    return 'infinity';
  end if;
  months := extract(year from a.schedule_interval)::integer * 12
            + extract(month from a.schedule_interval)::integer;
  days := extract(day from a.schedule_interval)::integer;
  calendar := make_interval(months => months, days => days);
  if months <> 0 or days <> 0 then
    slot := ((after at time zone zone) + calendar) at time zone zone;
  end if;
  return greatest(slot + (a.schedule_interval - calendar), a.initial_start);
exception when datetime_field_overflow or interval_field_overflow or numeric_value_out_of_range then
  return 'infinity';
end
$$;
comment on function tidemill._next_slot is
$$The first slot of an action after a time; 'infinity' where there is none.

Drifting schedules have it schedule_interval later, months and days on the clocks of
the action's time zone (NULL: UTC). No slot is before initial_start.$$;

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
$$When an action runs again that has failed `failures` times in a row, the last time until finished_at.

finished_at + least(retry_period * least(failures, 20), 5 * schedule_interval) * (1 + jitter),
in elapsed time; on a fixed grid or by cron no later than the next slot. For cron the
distance of the next two slots is the interval. The formula is TimescaleDB's.$$;

create or replace function tidemill._jitter() returns double precision
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select (floor(random() * 32) - 15) / 128
$$;
comment on function tidemill._jitter is 'One of -15/128, -14/128 ... 16/128, each as likely.';
