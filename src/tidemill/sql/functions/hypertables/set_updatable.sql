create or replace function tidemill.set_updatable(hypertable regclass, updatable boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
  grantee text;
begin
  perform tidemill._check_owner_itself(h.rows_table, 'let others update');
  if updatable is null then
    raise exception using errcode = '22004', message = 'updatable cannot be NULL', hint = 'Say true or false.';
  elsif h.segments is null then
    raise exception using errcode = '0A000', message = format('compression is not enabled on hypertable "%s"', tidemill._bare_name(h.rows_table)),
      hint = format('Say it there: SELECT tidemill.enable_compression(%L, updatable => %L)', h.rows_table, updatable);
  end if;
  h := tidemill._locked_whole(h);
  h.is_updatable := updatable;
  perform tidemill._create_changes(h);
  execute format('grant update on %s to %I', h.view, current_user);
  perform tidemill._share_grants(h);
  if not updatable then
    for grantee in
      select distinct case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end
        from pg_class r, aclexplode(r.relacl) a where r.oid = h.view and a.privilege_type = 'UPDATE'
    loop
      execute format('revoke update on %s from %s', h.view, grantee);
    end loop;
  end if;
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
  perform tidemill._note_hypertable_act(h, 'set_updatable', null, jsonb_build_object('updatable', updatable));
end
$$;
comment on function tidemill.set_updatable is
$$Lets UPDATE go through the view of a compressed hypertable, or no longer. Who may UPDATE may also lock rows through it, which
locks no packed row.

hypertable  the hypertable
updatable   true: for whoever may UPDATE the table of rows; false: for nobody

Errors: TS001 no hypertable, 42501 not its owner, 0A000 compression is not enabled, 22004 NULL, 55P03 it was locked for 5
seconds.$$;
