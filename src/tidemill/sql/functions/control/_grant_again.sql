create or replace function tidemill._grant_again() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  kept record;
begin
  for kept in
    select p.oid::regprocedure as function, r.rolname, k.is_grantable
    from tidemill._kept_grants k
    join pg_proc p on p.pronamespace = 'tidemill'::regnamespace and p.proname = k.function
    join pg_roles r on r.oid = k.grantee
    order by 1, 2
  loop
    execute format('grant execute on function %s to %I%s', kept.function, kept.rolname,
                   case when kept.is_grantable then ' with grant option' else '' end);
  end loop;
  delete from tidemill._kept_grants;
end
$$;
comment on function tidemill._grant_again is
  'Grants what others had on functions that a migration dropped to change their parameters, on those that are laid in their place.';
