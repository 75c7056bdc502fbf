-- How the routine of an action is called. Which one it is: see _found_routine.sql.

create or replace function tidemill._routine_call(proc_schema name, proc_name name)
returns table (call text, is_procedure boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  routine pg_proc;
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
  is_procedure := routine.prokind = 'p';
  call := tidemill._as_format(proc_schema) || '.' || tidemill._as_format(proc_name)
    || '(' || tidemill._arguments(routine.oid) || ')';
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

create or replace function tidemill._arguments(routine oid) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  other constant oid := tidemill._rival(routine);
  names constant text[] := tidemill._telling_names(routine);
  types text;
  amount integer;
begin
  select oidvectortypes(p.proargtypes), p.pronargs into types, amount from pg_proc p where p.oid = routine;
  if other is not null and names is null then
    raise exception using errcode = 'ambiguous_function',
      message = format('a call of %s could also mean %s', routine::regprocedure, other::regprocedure),
      detail = format('The further parameters of that one have defaults, so both take (%s).', types),
      hint = 'Rename one of them, or give their parameters different names, or drop the defaults.';
  end if;
  return (
    select string_agg(case when other is not null then tidemill._as_format(names[place]) || ' => ' else '' end
                      || '%' || place || '$s', ', ' order by place)
    from generate_series(1, amount) place);
end
$$;
comment on function tidemill._arguments is
$$The arguments of a call, %1$s and so on, as format takes them; with names if an overload makes the call ambiguous.

Error 42725: the names do not tell which one is meant.$$;

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
    -- By other types PostgreSQL prefers the exact ones.
    and (o.proargtypes::oid[])[0:p.pronargs - 1] = (p.proargtypes::oid[])[0:p.pronargs - 1]
    and o.pronargs - o.pronargdefaults <= p.pronargs
    -- A call would have to name a procedure's OUT parameters.
    and not (o.prokind = 'p' and 'o' = any(coalesce(o.proargmodes, '{}')))
  order by o.oid
  limit 1
$$;
comment on function tidemill._rival is
  'An overload that a call could mean as well, since its further parameters have defaults; else NULL.';

create or replace function tidemill._telling_names(routine oid) returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select n.names
  from pg_proc p
  cross join lateral (
    select array_agg(a.name order by a.place) as names
    from unnest(p.proargnames, p.proargmodes) with ordinality a (name, mode, place)
    where coalesce(a.mode, 'i') not in ('o', 't')
  ) n
  where p.oid = routine and cardinality(n.names) = p.pronargs and '' <> all(n.names)
    and not exists (
      select from pg_proc o
      where o.pronamespace = p.pronamespace and o.proname = p.proname and o.oid <> p.oid
        and o.proargnames @> n.names)
$$;
comment on function tidemill._telling_names is
  'The names of a function''s parameters, if no overload has all of them; else NULL.';

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
