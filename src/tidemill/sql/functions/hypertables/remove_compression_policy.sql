create or replace function tidemill.remove_compression_policy(hypertable regclass, if_exists boolean default false)
returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return tidemill._remove_policy('compression', hypertable, if_exists);
end
$$;
comment on function tidemill.remove_compression_policy is
$$Removes the compression policy of a hypertable, and returns whether there was one. What is compressed stays so.

hypertable  the hypertable
if_exists   true: where there is none, only a notice says so

Errors: TS001 no hypertable, 42704 no such policy, 42501 not the owner of its action.$$;
