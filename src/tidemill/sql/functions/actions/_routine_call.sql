-- The routine of an action: found by its name at each run, or by its OID if it was renamed.

create or replace function tidemill._routine_call(proc_schema name, proc_name name)
returns table (call text, is_procedure boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  routine pg_proc;
  other oid;
  names text[];
  arguments text := '%1$s, %2$s';
begin
  select p.* into routine from pg_proc p where p.oid = tidemill._routine(proc_schema, proc_name);
  if not found then
    raise exception using errcode = 'undefined_function',
      message = format('function or procedure "%s.%s(integer, jsonb)" does not exist', proc_schema, proc_name),
      hint = 'Custom job actions must accept (integer, jsonb) arguments.';
  elsif routine.prokind not in ('f', 'p') then
    raise exception using errcode = 'feature_not_supported',
      message = 'unsupported function type',
      detail = format('%s.%s is an aggregate or a window function.', proc_schema, proc_name),
      hint = 'Use a procedure, or a function that returns one value.';
  elsif routine.proretset then
    raise exception using errcode = 'feature_not_supported',
      message = 'set-valued function called in context that cannot accept a set',
      detail = format('%s.%s returns a set.', proc_schema, proc_name),
      hint = 'Use a procedure, or a function that returns one value.';
  end if;
  other := tidemill._rival(routine.oid);
  if other is not null then
    names := tidemill._telling_names(routine.oid);
    if names is null then
      raise exception using errcode = 'ambiguous_function',
        message = format('a call of %s could also mean %s', routine.oid::regprocedure, other::regprocedure),
        detail = 'The further parameters of that one have defaults, so both take (integer, jsonb).',
        hint = 'Rename one of them, or give their parameters different names, or drop the defaults.';
    end if;
    arguments := format('%s => %%1$s, %s => %%2$s', tidemill._as_format(names[1]), tidemill._as_format(names[2]));
  end if;
  is_procedure := routine.prokind = 'p';
  call := tidemill._as_format(proc_schema) || '.' || tidemill._as_format(proc_name) || '(' || arguments || ')';
  -- The server counts a function's result, whatever its type, so that the caller need not fetch it.
  call := case when is_procedure then 'call ' || call else 'select pg_catalog.count(' || call || ')' end;
  return next;
end
$$;
comment on function tidemill._routine_call is
$$The call of the routine schema.name(integer, jsonb), with %1$s and %2$s for its arguments, as format takes it.

If an overload with defaults makes the call ambiguous, it names the parameters. A function's result is discarded.
Errors: 42883 no routine with exactly these types, 0A000 an aggregate, a window function or a function
that returns a set, 42725 a call could mean another routine, too. Messages follow TimescaleDB.$$;

create or replace function tidemill._without_results(call text, run tidemill._action_runs) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from pg_proc p
    where p.oid = tidemill._routine(run.proc_schema, run.proc_name) and p.prokind = 'p' and 'b' = any(p.proargmodes))
  then
    return call;
  end if;
  -- In a DO, procedures may commit, too. Its text runs under the owner's search path.
  return format('do %L', format(
    'declare id pg_catalog.int4 := %s; config pg_catalog.jsonb := %L; begin %s; end', run.action_id, run.config,
    (select format(c.call, 'id', 'config') from tidemill._routine_call(run.proc_schema, run.proc_name) c)));
end
$$;
comment on function tidemill._without_results is
  'The call of a run, so that the values of INOUT parameters of a procedure are not sent to the worker.';

create or replace function tidemill._as_format(name text) returns text
language sql immutable
as $$ select replace(quote_ident(name), '%', '%%') $$;
comment on function tidemill._as_format is 'An identifier, quoted if it must be, for the first argument of format.';

create or replace function tidemill._rival(routine oid) returns oid
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select o.oid
  from pg_proc p
  join pg_proc o on o.pronamespace = p.pronamespace and o.proname = p.proname and o.oid <> p.oid
  where p.oid = routine
    -- integer, jsonb; by other types PostgreSQL prefers the exact ones.
    and o.proargtypes[0] = 23 and o.proargtypes[1] = 3802
    and o.pronargs - o.pronargdefaults <= 2
    -- A call would have to name a procedure's OUT parameters.
    and not (o.prokind = 'p' and 'o' = any(coalesce(o.proargmodes, '{}')))
  order by o.oid
  limit 1
$$;
comment on function tidemill._rival is
  'An overload that a call with (integer, jsonb) could mean as well, since its further parameters have defaults; else NULL.';

create or replace function tidemill._telling_names(routine oid) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select n.names
  from pg_proc p
  cross join lateral (
    select array_agg(a.name order by a.place) as names
    from unnest(p.proargnames, p.proargmodes) with ordinality a (name, mode, place)
    where coalesce(a.mode, 'i') <> 'o'
  ) n
  where p.oid = routine and cardinality(n.names) = 2 and '' <> all(n.names)
    and not exists (
      select from pg_proc o
      where o.pronamespace = p.pronamespace and o.proname = p.proname and o.oid <> p.oid
        and o.proargnames @> n.names)
$$;
comment on function tidemill._telling_names is
  'The names of a routine''s two parameters, if no overload has both names; else NULL.';

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

create or replace function tidemill._can_commit(proc_schema name, proc_name name) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select p.prokind = 'p' and l.lanname <> 'sql'
    and (l.lanname <> 'plpgsql' or p.prosrc ~* E'\\m(commit|rollback|call)\\M')
  from pg_proc p
  join pg_language l on l.oid = p.prolang
  where p.oid = tidemill._routine(proc_schema, proc_name)
$$;
comment on function tidemill._can_commit is
  'Whether a routine may end transactions, judged by its text: false is certain, true is a guess.';

create or replace function tidemill._follow_routine(action_id integer) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
  named oid;
begin
  select * into a from tidemill._actions x where x.id = _follow_routine.action_id;
  if a.proc_name is null then
    return;
  end if;
  named := tidemill._routine(a.proc_schema, a.proc_name);
  if named is not null then
    update tidemill._actions x set proc_oid = named where x.id = a.id and x.proc_oid is distinct from named;
  else
    update tidemill._actions x set proc_schema = n.nspname, proc_name = p.proname
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
      where x.id = a.id and p.oid = x.proc_oid and p.oid = tidemill._routine(n.nspname, p.proname);
  end if;
end
$$;
comment on function tidemill._follow_routine is
$$Stores the new names of an action's routine if it was renamed or moved to another schema.

Names take precedence: if another routine has the old names now, the action runs that one.$$;
