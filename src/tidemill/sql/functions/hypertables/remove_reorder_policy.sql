create or replace function tidemill.remove_reorder_policy(hypertable regclass, if_exists boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._remove_policy('reorder', hypertable, if_exists);
end
$$;
comment on function tidemill.remove_reorder_policy is
$$Removes the reorder policy of a hypertable. What is in order stays so.

hypertable  the hypertable
if_exists   true: where there is none, only a notice says so

Errors: TS001 no hypertable, 42704 no such policy, 42501 not the owner of its action.$$;
