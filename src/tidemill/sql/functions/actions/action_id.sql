create or replace function tidemill.action_id(name text) returns integer
-- With the caller's rights, so that current_user is the caller. It decides only which action is meant.
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  ids integer[];
  near text[];
begin
  if name is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'name of the action cannot be NULL',
      hint = 'Actions without a name have an id alone: see the view tidemill.actions.';
  end if;
  -- Of several, the caller's own come first, and then those that it has the rights for.
  select array_agg(a.id order by a.id) into ids
    from (
      select o.id, rank() over (
          order by pg_get_userbyid(o.owner::oid) = current_user desc, pg_has_role(o.owner::oid, 'USAGE') desc) as place
      from tidemill.actions o where o.name = action_id.name
    ) a
    where a.place = 1;
  if cardinality(ids) = 1 then
    return ids[1];
  elsif ids is not null then
    raise exception using errcode = 'duplicate_object',
      message = format('%s actions have the name "%s"', cardinality(ids), name),
      hint = format('Give one of the ids %s instead.', array_to_string(ids, ', '));
  end if;
  near := tidemill._names_like(name);
  raise exception using errcode = 'undefined_object',
    message = format('no action has the name "%s"', name),
    hint = case when cardinality(near) > 0 then format('Is %s meant?', array_to_string(near, ' or '))
      else 'The view tidemill.actions lists what there is.' end;
end
$$;
comment on function tidemill.action_id is
$$The id of the action with a name, for functions that take an id: alter_action(tidemill.action_id('nightly'), ...).

If several actions have the name, the caller's own counts; else the one of the only owner whose rights the caller has.
Errors: 42704 no action has the name (the hint has those that are like it), 42710 several have it (the hint
has their ids), 22023 NULL.$$;

create or replace function tidemill._names_like(name text) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select array_agg(n.quoted order by n.likeness desc, n.quoted)
  from (
    select distinct format('"%s"', a.name) as quoted, tidemill._likeness(w.pairs, a.name) as likeness
    from (values (tidemill._letter_pairs(_names_like.name))) w (pairs), tidemill.actions a
    where a.name is not null
    order by likeness desc, quoted limit 3
  ) n
  where n.likeness >= 0.5
$$;
comment on function tidemill._names_like is 'Up to three names of actions that are like this one, the likest first; NULL if none is.';
