-- If a superuser installs Tidemill, a routine that an action needs cannot be dropped by mistake.

create or replace function tidemill._on_drop() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  gone integer[];
  named integer[];
  a record;
begin
  begin
    select array_agg(x.id), array_agg(x.id) filter (where d.original or not d.normal)
      into gone, named
      from pg_event_trigger_dropped_objects() d
      join tidemill._actions x
        on x.proc_oid = d.objid
        or x.proc_schema = d.address_names[1] and x.proc_name = d.address_names[2]
          and d.address_args = '{integer,pg_catalog.jsonb}'
      where d.classid = 'pg_proc'::regclass and not d.is_temporary
        and x.proc_schema <> 'tidemill'
        -- A routine may still be found, by its name or by its OID.
        and tidemill._routine(x.proc_schema, x.proc_name) is null
        and not exists (select from pg_proc p where p.oid = x.proc_oid);
  exception when others then
    -- A fault of ours must never make a user's DROP fail.
    raise warning 'actions that need what is dropped were not looked for: %', sqlerrm;
    return;
  end;
  for a in select x.* from tidemill._actions x where x.id = any(gone) order by x.id loop
    if a.id = any(named) and current_query() !~* '\mcascade\M' then
      raise exception using errcode = 'dependent_objects_still_exist',
        message = format('cannot drop %s.%s because background job %s depends on it',
                         a.proc_schema, a.proc_name, a.id),
        hint = case when to_regprocedure('public.delete_job(integer)') is null
          then format('Use tidemill.delete_action(%s) to delete it first.', a.id)
          else 'Use delete_job() to drop the job first.' end;
    end if;
    perform tidemill._ask_to_stop(a.id, 'deleted');
    delete from tidemill._actions x where x.id = a.id;
    perform tidemill._release_owner(a.owner);
    perform tidemill._notify_actions();
    raise notice 'drop cascades to job %', a.id;
  end loop;
end
$$;
comment on function tidemill._on_drop is
$$Refuses to drop a routine that an action needs, unless the statement says CASCADE: then the action is deleted, too.

Error 2BP01. An event trigger, laid if a superuser owns the schema. Without it the next run of the action
fails and says that its routine does not exist.$$;

do $$
begin
  -- It fires in the sessions of all roles, so a superuser must own every function that it calls.
  if (select rolsuper from pg_roles where rolname = current_user)
    and (select bool_and(r.rolsuper)
         from pg_namespace n
         join pg_proc p on p.pronamespace = n.oid
         join pg_roles r on r.oid in (n.nspowner, p.proowner)
         where n.nspname = 'tidemill')
    and not exists (select from pg_event_trigger where evtname = 'tidemill_routines')
  then
    create event trigger tidemill_routines on sql_drop execute function tidemill._on_drop();
    comment on event trigger tidemill_routines is 'Made by Tidemill: see tidemill._on_drop.';
  end if;
end
$$;
