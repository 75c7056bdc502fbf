create or replace function tidemill.revoke_role(role text, from_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  r record;
begin
  perform tidemill._check_role(role, from_role, 'from_role');
  perform tidemill._lock('grants');
  if not exists (select from tidemill.grants g where g.role = revoke_role.role and g.grantee = from_role) then
    raise exception using errcode = 'undefined_object', message = format('"%s" does not have the role %s', from_role, role),
      hint = 'The view tidemill.grants lists who has which.';
  end if;
  for r in select * from tidemill._rights_of(role) x where x.object <> 'schema tidemill' loop
    execute format('revoke %s on %s from %s', r.privileges, r.object, from_role);
  end loop;
  -- What its other roles give, too.
  for r in
    select x.object, x.privileges from tidemill.grants g, tidemill._rights_of(g.role) x where g.grantee = from_role
  loop
    execute format('grant %s on %s to %s', r.privileges, r.object, from_role);
  end loop;
  if exists (
    select from pg_proc p, aclexplode(p.proacl) g
    where p.pronamespace = 'tidemill'::regnamespace and p.proname = 'make_chunks' and g.grantee = from_role)
  then
    perform tidemill._grant_hypertables(from_role);
  elsif not exists (select from tidemill.grants g where g.grantee = from_role) then
    execute format('revoke usage on schema tidemill from %s', from_role);
  end if;
  perform tidemill._note_act(current_user, 'revoke_role', array[role, from_role::text], 1);
end
$$;
comment on function tidemill.revoke_role is
$$Takes back a role of tidemill.grant_role. For the owner of the schema tidemill to call.

What other roles of Tidemill give stays. What was granted by hand and the role gives, too, goes with it.
Errors: 22023 an unknown role, NULL, or the owner of the schema; 42704 it does not have the role; 42501.$$;
