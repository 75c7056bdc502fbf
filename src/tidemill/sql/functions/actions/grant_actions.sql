create or replace function tidemill.grant_actions(to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  callee regprocedure;
begin
  if to_role is null then
    raise exception using errcode = 'invalid_parameter_value', message = 'role cannot be NULL';
  end if;
  execute format('grant usage on schema tidemill to %s', to_role);
  execute format(
    'grant select on tidemill.actions, tidemill.action_stats, tidemill.action_history, '
    'tidemill.action_errors to %s', to_role);
  for callee in
    select p.oid from pg_proc p
    where p.pronamespace = 'tidemill'::regnamespace and p.proname = any(tidemill._functions_for_actions())
  loop
    execute format('grant execute on routine %s to %s', callee, to_role);
  end loop;
end
$$;
comment on function tidemill.grant_actions is
$$Lets a role work with actions: add its own, manage those of roles that it is a member of, and read the views.

For the owner of the schema tidemill to call. The role needs LOGIN to own actions. It sees the definitions
of all actions, with their config, but the history only of those that it may manage.
Take it back with revoke, or drop owned by.$$;

create or replace function tidemill._functions_for_actions() returns name[]
language sql immutable
as $$
  select array[
    'add_action', '_add_action', '_insert_action',
    'alter_action', '_alter_action', '_apply_alteration',
    'delete_action', '_delete_action', '_find_action',
    'run_action', '_run_action', '_begin_hand_run', '_end_hand_run', '_context_below',
    'next_start', 'next_runs'
  ]::name[]
$$;
comment on function tidemill._functions_for_actions is
  'What a role calls that works with actions: the public functions, and those that these call with its rights.';
