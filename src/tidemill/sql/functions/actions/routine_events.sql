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
  begin
    -- Most drops concern no action, and must cost next to nothing.
    if not exists (
      select from pg_event_trigger_dropped_objects() d where d.classid = 'pg_proc'::regclass and not d.is_temporary)
    then
      return;
    end if;
    select array_agg(x.id), array_agg(x.id) filter (where x.original or not x.normal)
      into gone, named
      from (
        select c.id, c as action, d.original, d.normal
        from pg_event_trigger_dropped_objects() d
        join tidemill._actions c
          on c.proc_oid = d.objid
          or c.proc_schema = d.address_names[1] and c.proc_name = d.address_names[2]
            and d.address_args = '{integer,pg_catalog.jsonb}'
        where d.classid = 'pg_proc'::regclass and not d.is_temporary
        -- What follows is for those few alone.
        offset 0) x
      where (x.action).proc_schema <> 'tidemill'
        -- Another may still be found, by the names or by the OID.
        and tidemill._found_routine(x.action) is null;
    if named is not null then
      get diagnostics stack = pg_context;
      -- Inside a routine or DO, current_query() is the statement that called it, and the stack has the present one.
      cascades := tidemill._cascades(
        coalesce(substring(stack from E'^[^\\n]*\\nSQL statement "(.*?)"\\n(?:PL|SQL)'), current_query()), tg_tag,
        current_setting('standard_conforming_strings') = 'off');
    end if;
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
  -- What has a meaning of its own stands alone. A search from place to place would read the query anew each time.
  pieces text[];
  plain text[] := '{}';
  n integer;
  i integer := 1;
  piece text;
  tag_of_string text;
  depth integer;
  escapes boolean;
begin
  -- A longer script would take too long.
  if length(query) > 200000 then
    return false;
  end if;
  select array_agg(m[1]) into pieces
    from regexp_matches(query, '\w+|[\n\r''"$/*\\-]|[^\w\n\r''"$/*\\-]+', 'g') m;
  n := coalesce(cardinality(pieces), 0);
  while i <= n loop
    piece := pieces[i];
    if piece = '-' and pieces[i + 1] = '-' then
      while i <= n and pieces[i] not in (e'\n', e'\r') loop
        i := i + 1;
      end loop;
      plain := array_append(plain, ' ');
      continue;
    elsif piece = '/' and pieces[i + 1] = '*' then
      depth := 0;
      loop
        if pieces[i] = '/' and pieces[i + 1] = '*' then
          depth := depth + 1;
          i := i + 1;
        elsif pieces[i] = '*' and pieces[i + 1] = '/' then
          depth := depth - 1;
          i := i + 1;
        end if;
        i := i + 1;
        exit when depth = 0 or i > n;
      end loop;
      plain := array_append(plain, ' ');
      continue;
    elsif piece = '"' then
      -- A doubled quote is as good as two names.
      i := i + 1;
      while i <= n and pieces[i] <> '"' loop
        i := i + 1;
      end loop;
      piece := '?';
    elsif piece = '''' then
      escapes := backslashes or plain[cardinality(plain)] in ('e', 'E')
        and coalesce(plain[cardinality(plain) - 1], '') <> '$';
      i := i + 1;
      while i <= n and (pieces[i] <> '''' or pieces[i + 1] = '''') loop
        i := i + case when pieces[i] = '''' or escapes and pieces[i] = '\' and pieces[i + 1] in ('\', '''') then 2 else 1 end;
      end loop;
      piece := '?';
    -- A dollar in a name, or of a parameter, opens no string.
    elsif piece = '$' and coalesce(plain[cardinality(plain)], '') !~ '[\w$]$' then
      tag_of_string := case
        when pieces[i + 1] = '$' then ''
        when pieces[i + 1] ~ '^[^\W\d]' and pieces[i + 2] = '$' then pieces[i + 1]
      end;
      if tag_of_string is not null then
        depth := case tag_of_string when '' then 1 else 2 end;
        i := i + depth + 1;
        while i <= n and not (
          pieces[i] = '$' and coalesce(pieces[i + depth], '') = '$'
          and (depth = 1 or pieces[i + 1] = tag_of_string))
        loop
          i := i + 1;
        end loop;
        i := i + depth;
        piece := '?';
      end if;
    end if;
    plain := array_append(plain, piece);
    i := i + 1;
  end loop;
  query := array_to_string(plain, '');
  return coalesce(
    (select bool_and(s ~* '\mcascade\s*$') from regexp_split_to_table(query, ';') s
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
