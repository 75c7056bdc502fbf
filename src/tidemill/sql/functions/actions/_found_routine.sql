-- Which functions an action's names mean. They were given by the owner of the action, whose rights they get. Later
-- anybody who may create functions in the schema can take a name that has become free, and gets nothing by it.

create or replace function tidemill._found_routine(a tidemill._actions) returns oid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select tidemill._named_or_former(
    tidemill._routine(a.proc_schema, a.proc_name),
    (select p.oid
     from pg_proc p
     join pg_namespace n on n.oid = p.pronamespace
     where p.oid = a.proc_oid and p.oid = tidemill._routine(n.nspname, p.proname)),
    a.owner, a.proc_oid, a.proc_owner)
$$;
comment on function tidemill._found_routine is
$$The OID of the routine that an action runs; NULL if there is none.

The one that has the names now, be it that it was dropped and created again; else the former one, renamed or
moved. After a restore, OIDs mean other functions or none. So a routine counts that has both the names and
the OID, or one of them and an owner that may replace it: see tidemill._may_stand_in.$$;

create or replace function tidemill._routine(proc_schema name, proc_name name) returns oid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.oid
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = proc_schema and p.proname = proc_name
    -- integer, jsonb
    and p.proargtypes = '23 3802'
    -- A call would have to name a procedure's OUT parameters.
    and not (p.prokind = 'p' and 'o' = any(coalesce(p.proargmodes, '{}')))
$$;
comment on function tidemill._routine is
  'The OID of the routine schema.name(integer, jsonb); NULL if there is none.';

create or replace function tidemill._found_check(a tidemill._actions) returns oid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select tidemill._named_or_former(
    tidemill._check(a.check_schema, a.check_name),
    (select p.oid
     from pg_proc p
     join pg_namespace n on n.oid = p.pronamespace
     where p.oid = a.check_oid and p.oid = tidemill._check(n.nspname, p.proname)),
    a.owner, a.check_oid, a.check_owner)
$$;
comment on function tidemill._found_check is
  'The OID of an action''s check, as tidemill._found_routine finds the routine; NULL if there is none.';

create or replace function tidemill._check(check_schema name, check_name name) returns oid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.oid
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = check_schema and p.proname = check_name and p.prokind = 'f'
    -- jsonb
    and p.proargtypes = '3802'
$$;
comment on function tidemill._check is 'The OID of the function schema.name(jsonb); NULL if there is none.';

create or replace function tidemill._named_or_former(
  named oid, former oid, owner regrole, stored oid, former_owner regrole
) returns oid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select c.found
  from (values (1, named), (2, former)) c (place, found)
  where c.place = 1 and c.found = stored or tidemill._may_stand_in(c.found, owner, former_owner)
  order by c.place
  limit 1
$$;
comment on function tidemill._named_or_former is
$$The function that an action's names mean: the one that has them now, else the former one; NULL if neither counts.

`stored` is the OID that was stored with the names, `former` the same where it still is such a function.$$;

create or replace function tidemill._may_stand_in(other oid, owner regrole, former_owner regrole) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from pg_proc p
    where p.oid = other
      and (p.proowner = former_owner
        -- Functions of this one decide what is called at all.
        or p.proowner = (select n.nspowner from pg_namespace n where n.nspname = 'tidemill')
        or pg_has_role(p.proowner, owner::oid, 'USAGE')))
$$;
comment on function tidemill._may_stand_in is
$$Whether a function may take the place of an action's routine or check.

Its owner has the rights of the action's owner anyway, or owned the former one and could have replaced it.$$;

create or replace function tidemill._follow_routine(action_id integer) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  update tidemill._actions x
    set proc_schema = n.nspname, proc_name = p.proname, proc_oid = p.oid, proc_owner = p.proowner
    from tidemill._actions a, pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where a.id = _follow_routine.action_id and a.proc_name is not null and p.oid = tidemill._found_routine(a)
      and x.id = a.id
      and (x.proc_schema, x.proc_name, x.proc_oid, x.proc_owner)
        is distinct from (n.nspname, p.proname, p.oid, p.proowner::regrole)
$$;
comment on function tidemill._follow_routine is 'Stores the names of the routine that an action runs now.';

create or replace function tidemill._refuse_stranger(a tidemill._actions, noun text default 'action') returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  named constant oid := tidemill._routine(a.proc_schema, a.proc_name);
begin
  if named <> coalesce(tidemill._found_routine(a), 0) then
    raise exception using errcode = 'insufficient_privilege',
      message = format('%s is not the routine that %s %s was given, and has only its name',
                       named::regprocedure, noun, a.id),
      detail = format(
        'It belongs to "%s", who has not the rights of "%s", the owner of the %s, and did not own the former one.',
        (select pg_get_userbyid(p.proowner) from pg_proc p where p.oid = named), pg_get_userbyid(a.owner), noun),
      hint = format('If it is the one to run, give it to that role (alter routine %s owner to %I), '
                    'or delete the %s and add it again.', named::regprocedure, pg_get_userbyid(a.owner), noun);
  end if;
end
$$;
comment on function tidemill._refuse_stranger is
  'Raises 42501 if the names of an action''s routine belong to a function that may not stand in for it.';
