create or replace function tidemill.disable_compression(hypertable regclass) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
  before jsonb;
  packed bigint;
  made regclass;
begin
  perform tidemill._check_owner_itself(h.rows_table, 'disable compression on');
  if h.segments is null then
    raise notice 'compression is not enabled on hypertable "%"', tidemill._bare_name(h.rows_table);
    return h.rows_table;
  end if;
  h := tidemill._locked_whole(h);
  execute format('select count(distinct s._chunk) from %s s', h.segments) into packed;
  if packed > 0 then
    raise exception using errcode = '55000', message = format('%s chunks of hypertable "%s" are compressed', packed, tidemill._bare_name(h.rows_table)),
      hint = format('First: SELECT tidemill.decompress_chunk(c) FROM tidemill.show_chunks(%L) c', h.rows_table);
  end if;
  perform tidemill._drop_time_functions(h);
  perform tidemill._drop_view(h);
  for made in
    select c.relation from tidemill._chunks c join pg_trigger t on t.tgrelid = c.relation and t.tgname = '~tidemill_guard'
    where c.hypertable_id = h.id
  loop
    execute format('drop trigger "~tidemill_guard" on %s', made);
  end loop;
  execute format('drop trigger "~tidemill_upsert_begins" on %s', h.rows_table);
  execute format('drop trigger "~tidemill_upsert_ends" on %s', h.rows_table);
  perform tidemill._drop_segments(h);
  if h.is_transparent then
    execute format('alter table %s set schema %I', h.rows_table, h.shown_schema);
  end if;
  before := tidemill._packing_in_short(h);
  h.view := null;
  h.segments := null;
  h.segmentby := '{}';
  h.orderby := '{}';
  h.is_transparent := true;
  h.is_updatable := false;
  h.shown_schema := null;
  h.arms := '{}';
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
  perform tidemill._note_hypertable_act(h, 'disable_compression', before);
  return h.rows_table;
end
$$;
comment on function tidemill.disable_compression is
$$Makes a hypertable what it was before compression was enabled, for instance to enable it with other columns.

hypertable  a hypertable none of whose chunks is compressed

Returns the table, which has its name again. The view and the functions beside it are dropped.
Errors: TS001 no hypertable, 42501 not its owner, 55000 chunks are compressed, 2BP01 something depends on the view or on a
function beside it, 25001 a transaction that may not see all there is, 55P03 it was locked for 5 seconds.$$;
