create or replace function tidemill.set_action_owner(action_id integer, owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._refuse_read_only('alter', 'action');
  insert into tidemill._owner_requests (action_id, new_owner) values (action_id, owner);
end
$$;
comment on function tidemill.set_action_owner is
$$Gives an action to another role, as ALTER ... OWNER TO does; later runs are that role's.

action_id  the action
owner      the new owner; needs LOGIN, and EXECUTE on the routine and the check

The caller must have the rights of the present owner or of the database's owner, and be able to
SET ROLE to the new one. A run that is under way continues as the old one. An action that was paused
since its owner was dropped stays paused until alter_action(..., scheduled => true).
Errors: 22023 NULL, 42704 unknown id, 42501, 28000 the new owner is a role without LOGIN, 25006.$$;

create or replace function tidemill._change_owner(caller regrole, action_id integer, new_owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
begin
  if new_owner is null then
    raise exception using errcode = 'invalid_parameter_value', message = 'owner cannot be NULL';
  end if;
  perform tidemill._find_action(caller, action_id, 'alter', 'action');
  -- A number is a regrole, too, whether there is such a role or not.
  if not exists (select from pg_roles r where r.oid = new_owner) then
    raise exception using errcode = 'undefined_object',
      message = format('the role with OID %s does not exist', new_owner::oid);
  elsif not pg_has_role(
    caller::oid, new_owner::oid,
    case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end)
  then
    raise exception using errcode = 'insufficient_privilege',
      message = format('must be able to SET ROLE "%s"', pg_get_userbyid(new_owner)),
      detail = format('The runs of action %s would have the rights of that role, and "%s" may not act as it.',
                      action_id, pg_get_userbyid(caller));
  end if;
  perform tidemill._lock_action(action_id, false);
  -- While we waited, the action may have been deleted, or given to another role.
  a := tidemill._find_action(caller, action_id, 'alter', 'action');
  perform tidemill._check_login(new_owner, 'action');
  perform tidemill._check_executable(p.oid, new_owner, 'action')
    from pg_proc p where p.oid in (tidemill._found_routine(a), tidemill._found_check(a));
  perform tidemill._anchor_owner(new_owner);
  update tidemill._actions o set owner = new_owner where o.id = action_id;
  perform tidemill._release_owner(a.owner);
  perform tidemill._notify_actions();
end
$$;
comment on function tidemill._change_owner is 'set_action_owner for a caller.';
