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
    select a, s.next_start
      from tidemill._action_states s
      join tidemill._actions a on a.id = s.action_id
      where s.run_id is null and s.next_start < at and a.scheduled and isfinite(s.next_start)
        and a.missed in ('skip', 'backfill')
        -- A retry cannot be missed: it is not a slot.
        and s.consecutive_failures = 0 and s.consecutive_crashes = 0
      for no key update of s, a skip locked
  loop
    first_kept := null;
    begin
      if (due.a).missed = 'backfill' then
        if due.next_start < tidemill._oldest_slot(due.a, at) then
          first_kept := tidemill._next_slot(due.a, tidemill._oldest_slot(due.a, at) - interval '1 microsecond');
        end if;
      elsif at > least(due.next_start + interval '1 minute', tidemill._next_slot(due.a, due.next_start)) then
        first_kept := tidemill._next_slot(due.a, at);
      end if;
    exception when others then
      perform tidemill._pause_unreadable((due.a).id, sqlerrm);
    end;
    continue when first_kept is null;
    insert into tidemill._action_runs
      (action_id, application_name, owner, proc_schema, proc_name, task, slot, started_at, finished_at,
       outcome, config, message)
      values ((due.a).id, tidemill._application_name((due.a).id, (due.a).name), (due.a).owner,
              (due.a).proc_schema, (due.a).proc_name, (due.a).task, due.next_start, at, at,
              'skipped', (due.a).config,
              format('slots from %s to before %s were missed', due.next_start, first_kept));
    update tidemill._action_states s set next_start = first_kept, slot = due.next_start
      where s.action_id = (due.a).id;
    skipped := skipped + 1;
  end loop;
  return skipped;
end
$$;
comment on function tidemill._skip_missed is
$$Passes over missed slots of actions with skip or backfill; returns how many actions that were.

A slot is missed if no worker came to it within a minute, or until the following slot if that is sooner.
With backfill only slots older than the backfill period are passed over. Each time the history gets a row.$$;
