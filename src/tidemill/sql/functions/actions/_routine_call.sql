-- The routine of an action: found by its name at each run, or by its OID if it was renamed.

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
  call := format('%s %I.%I', case when is_procedure then 'call' else 'select' end, proc_schema, proc_name);
  return next;
end
$$;
comment on function tidemill._routine_call is
$$The call of the routine schema.name(integer, jsonb) without its arguments: 'call s.n' or 'select s.n'.

Errors: 42883 no routine with exactly these types, 0A000 an aggregate, a window function or a function
that returns a set. Messages follow TimescaleDB.$$;

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
    and (l.lanname <> 'plpgsql' or p.prosrc ~* '\m(commit|rollback|call)\M')
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
