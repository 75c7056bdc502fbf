create or replace function tidemill.remove_tiering_policy(relation regclass, if_exists boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._remove_policy('tiering', relation, if_exists);
end
$$;
comment on function tidemill.remove_tiering_policy is
$$Removes the tiering policy of a hypertable. What was moved stays where it is.

relation   the hypertable
if_exists  true: where there is none, only a notice says so

Errors: TS001 no hypertable, 42704 no such policy, 42501 not the owner of its action.$$;
