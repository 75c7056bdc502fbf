-- Who may do what with an action.

create or replace function tidemill._caller() returns regrole
language sql stable set search_path = pg_catalog, pg_temp
as $$ select quote_ident(coalesce(nullif(current_setting('role'), 'none'), session_user))::regrole $$;
comment on function tidemill._caller is
  'The role that the session acts as. In a SECURITY DEFINER function current_user is the definer.';

create or replace function tidemill._may_manage(owner regrole) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select pg_has_role(tidemill._caller()::oid, owner::oid, 'USAGE')
    or pg_has_role(tidemill._caller()::oid, d.datdba, 'USAGE')
  from pg_database d where d.datname = current_database()
$$;
comment on function tidemill._may_manage is
  'Whether the caller may run, alter and delete a role''s actions: it has the rights of that role, or of the database''s owner.';

-- Every role may call it: it shows an action only to those who may manage it.
create or replace function tidemill._find_action(action_id integer, verb text, noun text)
returns tidemill._actions
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
  owner name;
begin
  if action_id is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('%s ID cannot be NULL', noun);
  end if;
  select * into a from tidemill._actions o where o.id = action_id;
  if not found then
    raise exception using errcode = 'undefined_object',
      message = format('%s %s not found', noun, action_id);
  elsif not tidemill._may_manage(a.owner) then
    owner := pg_get_userbyid(a.owner);
    raise exception using errcode = 'insufficient_privilege',
      message = case
        when noun = 'job' and verb = 'delete'
          then format('insufficient permissions to delete job owned by "%s"', owner)
        else format('insufficient permissions to %s %s %s', verb, noun, action_id)
      end,
      detail = format('%s %s is owned by role "%s" but user "%s" does not belong to that role.',
                      initcap(noun), action_id, owner, pg_get_userbyid(tidemill._caller()));
  end if;
  return a;
end
$$;
comment on function tidemill._find_action is
$$Returns an action that the caller may manage.

verb and noun are words for messages: run, alter or delete; action or, in a dialect, job.
Errors: 22023 for NULL, 42704 for an unknown id, 42501.$$;

create or replace function tidemill._refuse_read_only(called text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_read_only')::boolean then
    raise exception using errcode = 'read_only_sql_transaction',
      message = format('cannot execute %s() in a read-only transaction', called);
  end if;
end
$$;
