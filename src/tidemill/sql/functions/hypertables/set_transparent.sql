create or replace function tidemill.set_transparent(hypertable regclass, transparent boolean, rows_schema name default null)
returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
begin
  perform tidemill._check_owner_itself(h.rows_table, 'turn round');
  if h.segments is null then
    raise exception using errcode = '0A000', message = format('compression is not enabled on hypertable "%s"', tidemill._bare_name(h.rows_table)),
      hint = format('Say it there: SELECT tidemill.enable_compression(%L, transparent => %L)', h.rows_table, transparent);
  elsif transparent is null then
    raise exception using errcode = '22004', message = 'transparent cannot be NULL', hint = 'Say true or false.';
  end if;
  h := tidemill._locked_whole(h);
  -- A view that was dropped by hand is made again.
  if transparent = h.is_transparent and exists (select from pg_class r where r.oid = h.view) then
    raise notice '"%" is so already', tidemill._bare_name(h.rows_table);
    return h.view;
  end if;
  perform tidemill._drop_view(h);
  perform tidemill._drop_time_functions(h);
  if transparent then
    perform tidemill._tell_what_a_view_breaks(h, true);
  end if;
  h.is_transparent := transparent;
  h := tidemill._create_view(h, rows_schema);
  perform tidemill._create_time_functions(h);
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
  perform tidemill._note_hypertable_act(h, 'set_transparent', null, jsonb_build_object('transparent', transparent));
  return h.view;
end
$$;
comment on function tidemill.set_transparent is
$$Gives the name of a compressed hypertable to the view over all rows, or back to the table. No row is moved. A view that was
dropped by hand is made again.

hypertable   the hypertable
transparent  true: the name is the view's, and the table of rows goes to its own schema; false: the name is the table's, and
             the view is <name>_all
rows_schema  where the table of rows goes; default the table's schema and "_rows"

Returns the view, which is a new one: its grants are those of the table of rows.

Errors: TS001 no hypertable, 42501 not its owner, 0A000 compression is not enabled, 2BP01 something depends on the view,
22004 NULL, 55P03 the lock was not to be had in 5 seconds.$$;

create or replace function tidemill._locked_whole(h tidemill._hypertables) returns tidemill._hypertables
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  locked tidemill._hypertables;
begin
  perform tidemill._expect_read_committed();
  -- First the view and then the table, as readers do.
  if exists (select from pg_class r where r.oid = h.view) then
    execute format('lock table only %s in access exclusive mode', h.view);
  end if;
  execute format('lock table %s in access exclusive mode', h.rows_table);
  -- Another session may have changed it meanwhile.
  select i.* into locked from tidemill._hypertables i where i.id = h.id;
  return locked;
end
$$;
comment on function tidemill._locked_whole is 'A hypertable that nobody else reads or writes until the transaction ends, as it is by then.';

create or replace function tidemill._drop_view(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  dependents text;
begin
  if not exists (select from pg_class r where r.oid = h.view) then
    return;
  end if;
  dependents := tidemill._dependents(h.view);
  if dependents is not null then
    raise exception using errcode = '2BP01', message = format('other objects depend on the view "%s": %s', h.view, dependents),
      hint = 'Drop them before, and make them again afterwards.';
  end if;
  execute format('drop view %s', h.view);
end
$$;
comment on function tidemill._drop_view is 'Drops the view of a hypertable, if it is there. Error: 2BP01 something depends on it.';
