-- A role that owns actions cannot be dropped by mistake: it holds a privilege, which DROP ROLE refuses to lose. The
-- privilege is on a function that was made for this owner alone. Grants on one function for all of them would have to
-- take turns, and whoever leaves a transaction open would hold up all others.

create or replace function tidemill._anchors(owner regrole) returns setof regprocedure
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.oid::regprocedure
  from pg_proc p
  where p.pronamespace = 'tidemill'::regnamespace and starts_with(p.proname, '_owns_actions_')
    and exists (select from aclexplode(p.proacl) g where g.grantee = owner and g.grantee <> p.proowner)
$$;
comment on function tidemill._anchors is 'The functions that keep a role from being dropped; in general one, or none.';

-- The lock "owner ...": shared by transactions that add actions for that role, exclusive for one that lets it go.

create or replace function tidemill._anchor_owner(owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- The number of the transaction tells it from those of a restored dump, where roles had other OIDs.
  anchor constant text := format('tidemill._owns_actions_%s_%s()', owner::oid, pg_current_xact_id());
begin
  if owner = (select n.nspowner from pg_namespace n where n.nspname = 'tidemill') then
    -- It cannot be dropped anyway.
    return;
  end if;
  perform tidemill._lock('owner ' || owner::oid, shared => true);
  if exists (select from tidemill._anchors(owner)) then
    return;
  end if;
  execute format(
    'create or replace function %s returns boolean language sql set search_path = pg_catalog, pg_temp as %L',
    anchor, 'select true');
  execute format('revoke all on function %s from public', anchor);
  execute format('grant execute on function %s to %s', anchor, owner);
  execute format('comment on function %s is %L', anchor,
    'EXECUTE on it is granted to a role that owns actions, so that DROP ROLE refuses it. It goes with the last action.');
end
$$;
comment on function tidemill._anchor_owner is
  'Keeps a role from being dropped while it owns actions. Call it before the action is stored.';

create or replace function tidemill._release_owner(owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  anchor regprocedure;
begin
  if not exists (select from tidemill._anchors(owner))
    or exists (select from tidemill._actions a where a.owner = _release_owner.owner)
  then
    return;
  end if;
  perform tidemill._lock('owner ' || owner::oid);
  if exists (select from tidemill._actions a where a.owner = _release_owner.owner) then
    return;
  end if;
  for anchor in select * from tidemill._anchors(owner) loop
    if exists (select from pg_roles r where r.oid = owner) then
      execute format('revoke execute on function %s from %s', anchor, owner);
    end if;
    begin
      execute format('drop function %s', anchor);
    exception when dependent_objects_still_exist then
      -- Any role may make a view that calls it. Without the privilege it keeps nobody.
      null;
    end;
  end loop;
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

create or replace function tidemill._anchor_owners_again() returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  select tidemill._anchor_owner(o.owner)
    from (select distinct a.owner from tidemill._actions a) o
    join pg_roles r on r.oid = o.owner
$$;
comment on function tidemill._anchor_owners_again is
  'Keeps the owners of all actions from being dropped. For after an upgrade: older versions had one function for all.';
