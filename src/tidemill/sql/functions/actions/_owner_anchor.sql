-- A role that owns actions cannot be dropped by mistake: it holds a privilege, which DROP ROLE refuses to lose.

create or replace function tidemill._owns_actions() returns boolean
language sql
as $$ select true $$;
comment on function tidemill._owns_actions is
$$EXECUTE on it is granted to the roles that own actions, so that DROP ROLE refuses them (2BP01).

Delete the role's actions first, which revokes it.$$;

create or replace function tidemill._holds_anchor(owner regrole) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_proc p, aclexplode(p.proacl) g
    where p.oid = 'tidemill._owns_actions()'::regprocedure and g.grantee = owner and g.grantee <> p.proowner)
$$;
comment on function tidemill._holds_anchor is 'Whether a role holds the privilege on tidemill._owns_actions.';

-- Two locks. "owner ...": shared by transactions that add actions for that role, exclusive for one that revokes.
-- "grants": PostgreSQL refuses two grants at once with "tuple concurrently updated".

create or replace function tidemill._anchor_owner(owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if owner = (select p.proowner from pg_proc p where p.oid = 'tidemill._owns_actions()'::regprocedure) then
    -- It cannot be dropped anyway: it owns the schema.
    return;
  end if;
  perform tidemill._lock('owner ' || owner::oid, shared => true);
  if not tidemill._holds_anchor(owner) then
    perform tidemill._lock('grants');
    if not tidemill._holds_anchor(owner) then
      execute format('grant execute on function tidemill._owns_actions() to %s', owner);
    end if;
  end if;
end
$$;
comment on function tidemill._anchor_owner is
  'Keeps a role from being dropped while it owns actions. Call it before the action is stored.';

create or replace function tidemill._release_owner(owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not tidemill._holds_anchor(owner) or exists (select from tidemill._actions a where a.owner = _release_owner.owner) then
    return;
  end if;
  perform tidemill._lock('owner ' || owner::oid);
  if tidemill._holds_anchor(owner)
    and not exists (select from tidemill._actions a where a.owner = _release_owner.owner)
    and exists (select from pg_roles r where r.oid = owner)
  then
    perform tidemill._lock('grants');
    execute format('revoke execute on function tidemill._owns_actions() from %s', owner);
  end if;
end
$$;
comment on function tidemill._release_owner is
$$Lets a role be dropped again if it owns no more actions. Call it after an action was deleted or changed owner.

Waits for open transactions that have added actions of that role.$$;

create or replace function tidemill._pause_ownerless() returns void
-- By the index, from owner to owner: there are few owners and many actions.
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
declare
  gone oid;
begin
  for gone in
    with recursive owners (owner) as (
      select min(a.owner::oid) from tidemill._actions a
      union all
      select (select min(a.owner::oid) from tidemill._actions a where a.owner::oid > o.owner)
      from owners o where o.owner is not null
    )
    select o.owner from owners o where o.owner is not null and not exists (select from pg_roles r where r.oid = o.owner)
  loop
    update tidemill._actions a set scheduled = false, paused_because = format(
        'paused, since its owner, the role with OID %s, was dropped; set_action_owner(%s, ...) gives it another, '
        'and alter_action(%s, scheduled => true) resumes it', gone, a.id, a.id)
      where a.id in (
        select x.id from tidemill._actions x
        where x.owner::oid = gone and x.scheduled order by x.id for no key update skip locked);
  end loop;
end
$$;
comment on function tidemill._pause_ownerless is
  'Pauses actions whose owner does not exist any more: DROP OWNED took its privilege, and so DROP ROLE succeeded.';
