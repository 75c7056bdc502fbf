-- The first statements of a run, on the connection that belongs to the run alone: _begin_run is recorded before
-- _enter_run brings in what the owner controls.

create or replace function tidemill._begin_run(run_id bigint)
returns table (call text, set_role name, names text[], given text[], work_mem text, slot text, application_name text)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  run tidemill._action_runs;
  a tidemill._actions;
  owner record;
begin
  update tidemill._action_runs r
    set pid = pg_backend_pid(),
        backend_start = (select a.backend_start from pg_stat_activity a where a.pid = pg_backend_pid())
    where r.id = run_id and r.outcome is null and r.stop_asked is null
    returning * into run;
  if not found then
    return;
  end if;
  select rolname, rolcanlogin, oid into owner from pg_roles where oid = run.owner;
  if not found then
    raise exception using errcode = 'undefined_object',
      message = format('the owner of action %s, the role with OID %s, does not exist any more',
                       run.action_id, run.owner::oid),
      hint = 'Delete the action and add it again as another role.';
  elsif not owner.rolcanlogin then
    raise exception using errcode = 'invalid_authorization_specification',
      message = format('the owner of action %s, role "%s", may not log in any more', run.action_id, owner.rolname),
      hint = format('Let an administrator run: alter role %I login;', owner.rolname);
  elsif owner.rolname <> session_user and not pg_has_role(session_user, owner.oid, 'MEMBER') then
    raise exception using errcode = 'insufficient_privilege',
      message = format('the worker''s role "%s" may not act as role "%s", which owns action %s',
                       session_user, owner.rolname, run.action_id),
      hint = format('Let an administrator run: grant %I to %I; or run a worker that logs in as %I.',
                    owner.rolname, session_user, owner.rolname);
  end if;
  select * into a from tidemill._actions x where x.id = run.action_id;
  -- As they were when the run was started, in another transaction.
  a.proc_schema := run.proc_schema;
  a.proc_name := run.proc_name;
  a.owner := run.owner;
  perform tidemill._refuse_stranger(a);
  select format(c.call, run.action_id, quote_nullable(run.config::text) || '::pg_catalog.jsonb') into call
    from tidemill._routine_call(run.proc_schema, run.proc_name) c;
  work_mem := run.config ->> 'work_mem';
  slot := run.slot::text;
  if owner.rolname <> session_user then
    set_role := owner.rolname;
    -- As if the owner had logged in. Its settings for this database override those for all databases.
    select array_agg(split_part(c, '=', 1) order by d.setdatabase, place),
        array_agg(substr(c, strpos(c, '=') + 1) order by d.setdatabase, place)
      into names, given
      from pg_db_role_setting d, unnest(d.setconfig) with ordinality u (c, place)
      where d.setrole = owner.oid
        and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and split_part(c, '=', 1) not in ('role', 'session_authorization', 'client_encoding');
  end if;
  call := tidemill._without_results(call, run);
  application_name := run.application_name;
  return next;
end
$$;
comment on function tidemill._begin_run is
$$Records that this session is that of a run, and returns the statement to execute, as which role (NULL: the present
one), and what _enter_run takes, in that order.

Returns no row if the run was stopped meanwhile. What it refuses counts as the run's failure: no such routine
or a stranger's, no such role, or a role that the worker may not become.$$;

create or replace function tidemill._enter_run(
  names text[], given text[], work_mem text, slot text, application_name text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- From here on the search path is the owner's, and the rights are still the worker's: so no name without a schema.
  reset all;
  for place in 1 .. coalesce(pg_catalog.cardinality(names), 0) loop
    begin
      perform pg_catalog.set_config(names[place], given[place], false);
    exception when others then
      raise warning 'setting % of the owner does not apply here: %', names[place], sqlerrm;
    end;
  end loop;
  if work_mem is not null then
    perform pg_catalog.set_config('work_mem', work_mem, false);
  end if;
  perform pg_catalog.set_config('tidemill.slot', slot, false);
  perform pg_catalog.set_config('application_name', application_name, false);
  begin
    -- So the server notices the worker's death even during a long statement.
    perform pg_catalog.set_config('client_connection_check_interval', '2s', false);
  exception when others then
    null;
  end;
end
$$;
comment on function tidemill._enter_run is
$$Gives this session the settings of a run: those of the owner (names, given), the config's work_mem as in TimescaleDB,
and tidemill.slot, the scheduled time.

Settings of the session that the worker has made for its own statements are reset. Call it in a transaction of its
own: the owner may have set a timeout that ends the session at once, which is the run's failure.$$;

create or replace function tidemill._prepare_run(run_id bigint)
returns table (call text, set_role name)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  begun record;
begin
  select * into begun from tidemill._begin_run(run_id);
  if not found then
    return;
  end if;
  call := begun.call;
  set_role := begun.set_role;
  perform tidemill._enter_run(begun.names, begun.given, begun.work_mem, begun.slot, begun.application_name);
  return next;
end
$$;
comment on function tidemill._prepare_run is '_begin_run and _enter_run in one, for workers of older versions.';
