create or replace function tidemill.grant_actions(to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  callee regprocedure;
  requests record;
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
  -- All columns but the one that says who asks.
  for requests in
    select c.oid::regclass as name, string_agg(quote_ident(a.attname), ', ') as columns
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'tidemill'::regnamespace and c.relname = any(tidemill._requests_for_actions())
      and a.attnum > 0 and not a.attisdropped and a.attname <> 'who'
    group by c.oid
  loop
    execute format('grant insert (%1$s), select (%1$s) on %2$s to %3$s', requests.columns, requests.name, to_role);
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

create or replace function tidemill._grant_actions_again() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill.grant_actions(g.grantee::regrole)
    from pg_proc p, aclexplode(p.proacl) g
    where p.pronamespace = 'tidemill'::regnamespace and p.proname = 'add_action'
      and g.grantee <> p.proowner and g.grantee <> 0;
end
$$;
comment on function tidemill._grant_actions_again is
  'Gives the roles of grant_actions what this version''s functions need. For after they were laid.';
