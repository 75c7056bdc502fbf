-- The first statement of a run, on the connection that belongs to the run alone.

create or replace function tidemill._prepare_run(run_id bigint)
returns table (call text, set_role name)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  run tidemill._action_runs;
  owner record;
  setting record;
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
  select format(c.call, run.action_id, quote_nullable(run.config::text) || '::jsonb') into call
    from tidemill._routine_call(run.proc_schema, run.proc_name) c;

  if owner.rolname <> session_user then
    set_role := owner.rolname;
    -- As if the owner had logged in. Its settings for this database override those for all databases.
    for setting in
      select split_part(c, '=', 1) as name, substr(c, strpos(c, '=') + 1) as value
      from pg_db_role_setting d, unnest(d.setconfig) c
      where d.setrole = owner.oid
        and d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and split_part(c, '=', 1) not in ('role', 'session_authorization', 'client_encoding')
      order by d.setdatabase
    loop
      begin
        perform set_config(setting.name, setting.value, false);
      exception when others then
        raise warning 'setting % of role % does not apply here: %', setting.name, owner.rolname, sqlerrm;
      end;
    end loop;
  end if;
  if run.config ->> 'work_mem' is not null then
    perform set_config('work_mem', run.config ->> 'work_mem', false);
  end if;
  perform set_config('tidemill.slot', run.slot::text, false);
  perform set_config('application_name', run.application_name, false);
  begin
    -- So the server notices the worker's death even during a long statement.
    perform set_config('client_connection_check_interval', '2s', false);
  exception when others then
    null;
  end;
  return next;
end
$$;
comment on function tidemill._prepare_run is
$$Makes this session that of a run, and returns the statement to execute, and as which role (NULL: the present one).

Returns no row if the run was stopped meanwhile. Errors count as the run's failure: no such routine,
no such role, or a role that the worker may not become. The config's work_mem (text) is applied, as in
TimescaleDB; the setting tidemill.slot holds the scheduled time.$$;
