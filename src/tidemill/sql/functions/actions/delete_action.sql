create or replace function tidemill.delete_action(action_id integer) returns void
language sql strict
as $$ select tidemill._delete_action(action_id, 'action') $$;
comment on function tidemill.delete_action is
$$Deletes an action; its history stays. NULL does nothing.

Its run is stopped, unless this session is running it.
Errors: 42704 unknown id, 42501 the caller has neither the rights of the owner nor those of the
database's owner. Behaviour follows TimescaleDB's delete_job.$$;

create or replace function tidemill._delete_action(action_id integer, noun text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._refuse_read_only('delete', noun);
  insert into tidemill._delete_requests (action_id, noun) values (action_id, noun);
end
$$;

create or replace function tidemill._remove_action(caller regrole, action_id integer, noun text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
begin
  perform tidemill._find_action(caller, action_id, 'delete', noun);
  a := tidemill._lock_action(action_id, true);
  -- The action may have been deleted while we waited.
  perform tidemill._find_action(caller, action_id, 'delete', noun);
  perform tidemill._ask_to_stop(action_id, 'deleted');
  delete from tidemill._actions o where o.id = action_id;
  perform tidemill._release_owner(a.owner);
  perform tidemill._notify_actions();
end
$$;
