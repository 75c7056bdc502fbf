-- When an action is due next, and which slot a run is for.

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
    return coalesce(tidemill._grid_slot(a.schedule_interval, a.initial_start, a.timezone, after), 'infinity');
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
$$The first slot of an action after a time; 'infinity' if there is none.

On a drifting schedule it is schedule_interval later, where months and days are counted on the
clocks of the action's time zone (NULL: UTC). No slot is before initial_start.$$;

create or replace function tidemill._start_after_success(
  a tidemill._actions, slot timestamptz, finished_at timestamptz
) returns timestamptz
language sql
as $$
  select tidemill._next_slot(a, case
    when not a.fixed_schedule then finished_at
    when a.missed = 'backfill' then greatest(slot, tidemill._oldest_slot(a, finished_at) - interval '1 microsecond')
    -- Also after the slot: a clock that was set back must not bring it again.
    else greatest(slot, finished_at)
  end)
$$;
comment on function tidemill._start_after_success is
  'When an action starts next after a run for this slot that was no failure.';

create or replace function tidemill._moved_start(
  a tidemill._actions, before tidemill._actions, s tidemill._action_states, at timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  moved boolean := row(a.cron, a.fixed_schedule, a.initial_start, a.timezone)
    is distinct from row(before.cron, before.fixed_schedule, before.initial_start, before.timezone);
begin
  if exists (select from tidemill._action_runs r where r.id = s.run_id and not r.by_hand)
    -- As texts: a day is 24 hours only where the clocks do not change.
    or not moved and a.schedule_interval::text is not distinct from before.schedule_interval::text
    or not moved and s.last_start is null
  then
    return s.next_start;
  elsif a.fixed_schedule then
    -- A first start that waits only for a worker keeps its turn, unless the grid begins anew.
    if s.last_start is null and s.next_start <= at and a.schedule_interval is not null
      and before.schedule_interval is not null and a.initial_start is not distinct from before.initial_start
    then
      return s.next_start;
    end if;
    return tidemill._next_slot(a, greatest(at, s.slot));
  elsif s.last_finish is not null then
    return tidemill._next_slot(a, s.last_finish);
  elsif a.initial_start is distinct from before.initial_start or before.cron is not null and not s.must_run then
    -- As in add_action. A slot of the cron line would say nothing about the interval.
    return coalesce(a.initial_start, '-infinity');
  else
    return s.next_start;
  end if;
end
$$;
comment on function tidemill._moved_start is
  'When an action that was altered starts next; during a run the run''s end decides that.';

create or replace function tidemill._slot_of(
  a tidemill._actions, s tidemill._action_states, at timestamptz
) returns timestamptz
language sql
as $$
  select case
    -- -infinity, or so early that there may be no time before it.
    when s.next_start < '4713-01-01 00:00+00 BC' then at
    when s.consecutive_failures + s.consecutive_crashes = 0 then s.next_start
    else tidemill._retried_slot(a, s, at)
  end
$$;
comment on function tidemill._slot_of is 'The scheduled time that the run of a due action is for.';

create or replace function tidemill._retried_slot(
  a tidemill._actions, s tidemill._action_states, at timestamptz
) returns timestamptz
language plpgsql stable
as $$
begin
  return case
    when a.missed = 'backfill' and s.slot < tidemill._oldest_slot(a, at) then least(
      at, tidemill._next_slot(a, tidemill._oldest_slot(a, at) - interval '1 microsecond'))
    when a.missed = 'backfill'
      or s.next_start is distinct from tidemill._next_slot(a, s.next_start - interval '1 microsecond')
      then s.slot
    else s.next_start
  end;
exception when others then
  -- Other actions must start. The end of this run pauses the action.
  return s.slot;
end
$$;
comment on function tidemill._retried_slot is
  'The slot that failed, for a retry. Without backfill, a slot that has come since takes its place.';

create or replace function tidemill._oldest_slot(a tidemill._actions, at timestamptz) returns timestamptz
language sql stable
as $$
  -- PostgreSQL's times begin about then, and an error here would fail for every action.
  select case when a.backfill_period < interval '6000 years' then
    (at at time zone coalesce(a.timezone, 'UTC') - a.backfill_period) at time zone coalesce(a.timezone, 'UTC') end
$$;
comment on function tidemill._oldest_slot is 'The age limit of backfilled slots, as a time; NULL: no limit.';
