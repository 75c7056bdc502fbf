-- Who may do what with an action.

create or replace function tidemill._may_manage(caller regrole, owner regrole) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select pg_has_role(caller::oid, owner::oid, 'USAGE') or pg_has_role(caller::oid, d.datdba, 'USAGE')
  from pg_database d where d.datname = current_database()
$$;
comment on function tidemill._may_manage is
  'Whether a role may run, alter and delete an owner''s actions: it has the rights of that owner, or of the database''s owner.';

create or replace function tidemill._find_action(caller regrole, action_id integer, verb text, noun text)
returns tidemill._actions
language plpgsql stable set search_path = pg_catalog, pg_temp
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
  elsif not tidemill._may_manage(caller, a.owner) then
    owner := pg_get_userbyid(a.owner);
    raise exception using errcode = 'insufficient_privilege',
      message = case
        when noun = 'job' and verb = 'delete'
          then format('insufficient permissions to delete job owned by "%s"', owner)
        else format('insufficient permissions to %s %s %s', verb, noun, action_id)
      end,
      detail = format('%s %s is owned by role "%s" but user "%s" does not belong to that role.',
                      initcap(noun), action_id, owner, pg_get_userbyid(caller));
  end if;
  return a;
end
$$;
comment on function tidemill._find_action is
$$Returns an action that the caller may manage.

verb and noun are words for messages: run, alter or delete; action or, in a dialect, job.
Errors: 22023 for NULL, 42704 for an unknown id, 42501.$$;

create or replace function tidemill._refuse_read_only(verb text, noun text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_read_only')::boolean then
    raise exception using errcode = 'read_only_sql_transaction',
      message = format('cannot execute %s_%s() in a read-only transaction', verb, noun);
  end if;
end
$$;
