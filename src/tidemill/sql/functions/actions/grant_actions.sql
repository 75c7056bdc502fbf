create or replace function tidemill.grant_actions(to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill.grant_role('actions', to_role);
end
$$;
comment on function tidemill.grant_actions is
$$Lets a role work with actions: add its own, manage those of roles that it is a member of, and read the views.

For the owner of the schema tidemill to call. The role needs LOGIN to own actions. It sees the definitions
of all actions, with their config, but the history only of those that it may manage.
The same as tidemill.grant_role('actions', to_role): take it back with tidemill.revoke_role.$$;

create or replace function tidemill._functions_for_actions() returns name[]
language sql immutable
as $$
  select array[
    'add_action', '_add_action',
    'alter_action', '_alter_action',
    'delete_action', '_delete_action',
    'set_action_owner',
    'run_action', '_run_action', '_end_hand_run', '_context_below', '_refuse_read_only',
    'next_start', 'next_runs', 'action_id', '_names_like', '_likeness', '_letter_pairs',
    '_check_timezone', '_is_timezone_with_digits', '_timezone_hint', '_meant_timezone'
  ]::name[]
$$;
comment on function tidemill._functions_for_actions is
  'What a role calls that works with actions: the public functions, and those that these call with its rights.';

create or replace function tidemill._requests_for_actions() returns name[]
language sql immutable
as $$
  select array['_add_requests', '_alter_requests', '_delete_requests', '_owner_requests', '_run_requests', '_run_ends']::name[]
$$;
comment on function tidemill._requests_for_actions is
  'The views through which the functions of _functions_for_actions ask for what the caller may not write itself.';
