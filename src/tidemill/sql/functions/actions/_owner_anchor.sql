-- A role that owns actions is not dropped by mistake: a privilege that it holds stands in the way.

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
comment on function tidemill._holds_anchor is 'Whether tidemill._owns_actions was granted to a role.';

-- Two locks of the transaction. "tmactwho": shared by all who add actions for other roles, exclusive for
-- who revokes. "tmactacl": two grants at once would be refused with "tuple concurrently updated".

create or replace function tidemill._anchor_owner(owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if owner = (select p.proowner from pg_proc p where p.oid = 'tidemill._owns_actions()'::regprocedure) then
    -- It cannot be dropped anyway: the schema is its own.
    return;
  end if;
  perform pg_advisory_xact_lock_shared(x'746d61637477686f'::bigint);
  if not tidemill._holds_anchor(owner) then
    perform pg_advisory_xact_lock(x'746d61637461636c'::bigint);
    if not tidemill._holds_anchor(owner) then
      execute format('grant execute on function tidemill._owns_actions() to %s', owner);
    end if;
  end if;
end
$$;
comment on function tidemill._anchor_owner is
  'Keeps a role from being dropped while it owns actions; to be called before its action is stored.';

create or replace function tidemill._release_owner(owner regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not tidemill._holds_anchor(owner) or exists (select from tidemill._actions a where a.owner = _release_owner.owner) then
    return;
  end if;
  perform pg_advisory_xact_lock(x'746d61637477686f'::bigint);
  if tidemill._holds_anchor(owner)
    and not exists (select from tidemill._actions a where a.owner = _release_owner.owner)
    and exists (select from pg_roles r where r.oid = owner)
  then
    execute format('revoke execute on function tidemill._owns_actions() from %s', owner);
  end if;
end
$$;
comment on function tidemill._release_owner is
$$Lets a role be dropped that owns no action any more; to be called after an action is gone or has another owner.

Waits for transactions that have added actions and go on.$$;
