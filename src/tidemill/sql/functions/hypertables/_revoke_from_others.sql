-- Default privileges may have given others more than the table has: what is made for a hypertable is its owner's alone.

create or replace function tidemill._revoke_from_others(made regprocedure) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  grantee text;
begin
  for grantee in
    select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
      from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where p.oid = made and a.grantee <> p.proowner
  loop
    execute format('revoke all on function %s from %s', made, grantee);
  end loop;
end
$$;
comment on function tidemill._revoke_from_others(regprocedure) is 'Leaves a function to its owner.';

create or replace function tidemill._revoke_from_others(made regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  grantee text;
begin
  for grantee in
    select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
      from pg_class r, aclexplode(r.relacl) a where r.oid = made and a.grantee <> r.relowner
  loop
    execute format('revoke all on table %s from %s', made, grantee);
  end loop;
end
$$;
comment on function tidemill._revoke_from_others(regclass) is 'Leaves a table to its owner.';
