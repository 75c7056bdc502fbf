create or replace function tidemill.next_runs(
  action_id integer, n integer default 5, after timestamptz default null
) returns setof timestamptz
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  a tidemill._actions;
  s tidemill._action_states;
  present timestamptz := clock_timestamp();
  start timestamptz;
begin
  select o.* into a from tidemill._actions o where o.id = action_id;
  if not found then
    if action_id is null then
      raise exception using errcode = 'invalid_parameter_value',
        message = 'action ID cannot be NULL',
        hint = 'Give the id of an action, as in the view tidemill.actions.';
    end if;
    raise exception using errcode = 'undefined_object',
      message = format('action %s not found', action_id),
      hint = 'The view tidemill.actions lists what there is.';
  elsif n not between 0 and 10000 then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('n %s is not between 0 and 10000', n), hint = 'Give the number of runs to tell.';
  end if;
  select o.* into s from tidemill._action_states o where o.action_id = a.id;

  start := coalesce(s.next_start, '-infinity');
  if start = '-infinity' then
    -- Due at once; or during a run, whose end sets it.
    start := case when s.run_id is null then present else tidemill._start_after_success(a, s.slot, present) end;
  end if;
  if start <= after then
    start := tidemill._next_slot(a, after);
  end if;
  for i in 1..coalesce(n, 5) loop
    exit when start = 'infinity';
    return next start;
    start := tidemill._next_slot(a, case a.missed when 'backfill' then start else greatest(start, present) end);
  end loop;
end
$$;
comment on function tidemill.next_runs is
$$When an action will run next: the first n of its scheduled times, as far as they are known now.

action_id  the action
n          how many; default 5
after      only times after it; default NULL: from the next start on

If the action is paused: when it would run. Runs are taken to succeed and to take no
time, so for a drifting schedule this is the earliest. No rows if it will not run again.
Errors: 42704 no such action, 22023 action_id is NULL or n negative.$$;
