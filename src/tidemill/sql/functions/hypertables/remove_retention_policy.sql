create or replace function tidemill.remove_retention_policy(relation regclass, if_exists boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._remove_policy('retention', relation, if_exists);
end
$$;
comment on function tidemill.remove_retention_policy is
$$Removes the retention policy of a hypertable. Its history stays.

relation   the hypertable
if_exists  true: where there is none, only a notice says so

Errors: TS001 no hypertable, 42704 no such policy, 42501 not the owner of its action.$$;

create or replace function tidemill._remove_policy(kind text, relation regclass, if_exists boolean) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  action_id constant integer := (tidemill._policy(kind, (tidemill._hypertable(relation)).id)).id;
begin
  if action_id is null and not if_exists then
    raise exception using errcode = '42704', message = format('%s policy not found for hypertable "%s"', kind, tidemill._bare_name(relation)),
      hint = 'With if_exists => true this is a notice.';
  elsif action_id is null then
    raise notice '% policy not found for hypertable "%", skipping', kind, tidemill._bare_name(relation);
    return false;
  end if;
  perform tidemill.delete_action(action_id);
  return true;
end
$$;
comment on function tidemill._remove_policy is 'Deletes the action of a policy; returns whether there was one.';
