-- If a superuser installs Tidemill, a routine that an action needs cannot be dropped by mistake.

create or replace function tidemill._on_drop() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  gone integer[];
  named integer[];
  stack text;
  cascades boolean;
  a record;
begin
  get diagnostics stack = pg_context;
  begin
    -- Inside a routine or DO, current_query() is the statement that called it, and the stack has the present one.
    cascades := tidemill._cascades(
      coalesce(substring(stack from E'^[^\\n]*\\nSQL statement "(.*?)"\\n(?:PL|SQL)'), current_query()), tg_tag,
      current_setting('standard_conforming_strings') = 'off');
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
    if a.id = any(named) and not cascades then
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

create or replace function tidemill._cascades(query text, tag text, backslashes boolean default false) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp set standard_conforming_strings = on
as $$
declare
  dollar constant text := '\$(?:[^\W\d]\w*)?\$';
  plain text := '';
  place integer := 1;
  opened integer;
  sign text;
  token text;
  depth integer;
begin
  -- A longer script would take too long.
  if length(query) > 200000 then
    return false;
  end if;
  loop
    opened := regexp_instr(query, '--|/\*|[''"$]', place);
    exit when opened = 0;
    plain := plain || substr(query, place, opened - place);
    sign := substr(query, opened, 1);
    if sign = '-' then
      token := regexp_substr(query, '[^\n\r]*', opened);
    elsif sign = '/' then
      place := opened + 2;
      depth := 1;
      while depth > 0 loop
        place := nullif(regexp_instr(query, '/\*|\*/', place), 0);
        exit when place is null;
        depth := depth + case substr(query, place, 1) when '/' then 1 else -1 end;
        place := place + 2;
      end loop;
      token := substr(query, opened, coalesce(place, length(query) + 1) - opened);
    elsif sign = '"' then
      token := regexp_substr(query, '"(?:[^"]|"")*"', opened);
    elsif sign = '$' then
      -- A dollar in a name, or of a parameter, opens no string.
      token := '$';
      if plain !~ '[\w$]$' and regexp_instr(query, dollar, opened) = opened then
        token := regexp_substr(query, dollar, opened);
        token := token || split_part(substr(query, opened + length(token)), token, 1) || token;
      end if;
    elsif backslashes or plain ~* '(?:^|[^\w$])e$' then
      token := regexp_substr(query, '''(?:[^''\\]|''''|\\.)*''', opened);
    else
      token := regexp_substr(query, '''(?:[^'']|'''')*''', opened);
    end if;
    plain := plain || case when sign in ('-', '/') then ' ' else '?' end;
    place := opened + length(token);
  end loop;
  plain := plain || substr(query, place);
  return coalesce(
    (select bool_and(s ~* '\mcascade\s*$') from regexp_split_to_table(plain, ';') s
     where s ~* ('^\s*' || replace(tag, ' ', '\s+') || '\M')),
    false);
end
$$;
comment on function tidemill._cascades is
$$Whether a query says CASCADE where it counts: as the last word of its statements of this tag, such as DROP FUNCTION.

Comments, strings and quoted names say nothing. backslashes: they escape a quote in every string.$$;

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
