-- Passing over missed slots, for actions that want that.

create or replace function tidemill._skip_missed(at timestamptz default clock_timestamp()) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due record;
  first_kept timestamptz;
  skipped integer := 0;
begin
  for due in
    select a, s
      from tidemill._action_states s
      join tidemill._actions a on a.id = s.action_id
      where s.run_id is null and s.next_start < at and a.scheduled and not s.must_run
        -- Not so early that there may be no time before it.
        and s.next_start > '4713-01-01 00:00+00 BC' and a.missed in ('skip', 'backfill')
        and tidemill._is_missed(a, s, at)
      for no key update of s, a skip locked
  loop
    first_kept := null;
    begin
      first_kept := tidemill._first_kept(due.a, due.s, at);
    exception when lock_not_available or transaction_rollback or insufficient_resources or system_error then
      -- Not the action's: try again.
      raise;
    when others then
      perform tidemill._pause_unreadable((due.a).id, sqlerrm);
    end;
    continue when first_kept is null;
    insert into tidemill._action_runs
      (action_id, application_name, owner, proc_schema, proc_name, task, slot, started_at, finished_at,
       outcome, config, message)
      values ((due.a).id, tidemill._application_name((due.a).id, (due.a).name), (due.a).owner,
              (due.a).proc_schema, (due.a).proc_name, (due.a).task, (due.s).next_start, at, at,
              'skipped', (due.a).config,
              format('slots from %s to before %s were missed', (due.s).next_start, first_kept));
    update tidemill._action_states s set next_start = first_kept, slot = (due.s).next_start, decided_at = at
      where s.action_id = (due.a).id;
    skipped := skipped + 1;
  end loop;
  return skipped;
end
$$;
comment on function tidemill._skip_missed is
$$Passes over missed slots of actions with skip or backfill; returns how many actions that were.

A slot is missed if no worker came to it within a minute, or until the following slot if that is sooner.
With backfill only slots older than the backfill period are passed over. A start that is no slot stays: one
that was asked for, and a retry. Each time the history gets a row.$$;

create or replace function tidemill._first_kept(
  a tidemill._actions, s tidemill._action_states, at timestamptz
) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  retried constant boolean := s.consecutive_failures + s.consecutive_crashes > 0;
begin
  if a.missed = 'backfill' then
    return case when not retried and s.next_start < tidemill._oldest_slot(a, at)
      then tidemill._next_slot(a, tidemill._oldest_slot(a, at) - interval '1 microsecond') end;
  elsif at <= least(s.next_start + interval '1 minute', tidemill._next_slot(a, s.next_start)) then
    return null;
  elsif a.fixed_schedule
    and s.next_start <> tidemill._next_slot(a, s.next_start - interval '1 microsecond')
  then
    return null;
  elsif retried and not a.fixed_schedule then
    return null;
  end if;
  return tidemill._next_slot(a, at);
end
$$;
comment on function tidemill._first_kept is
  'If the next start of an action with skip or backfill is a missed slot: the first one that is not; else NULL.';

create or replace function tidemill._is_missed(
  a tidemill._actions, s tidemill._action_states, at timestamptz
) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  return tidemill._first_kept(a, s, at) is not null;
exception when others then
  -- _skip_missed meets the error again, and pauses the action.
  return true;
end
$$;
