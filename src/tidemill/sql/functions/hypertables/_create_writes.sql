-- How a hypertable's view is written to: INSERT and COPY go into its rows, DELETE and UPDATE bring packed rows back first.

create or replace function tidemill._create_writes(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  columns constant text := tidemill._stored_columns(h.rows_table);
  given constant text := (select string_agg(format('new.%I', c.name), ', ')
                          from tidemill._columns(h.rows_table) c where not c.is_generated);
  copies constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_copy', h.id));
begin
  -- The rule inserts set at once. COPY takes only a trigger.
  execute format('create or replace rule _insert as on insert to %s do instead insert into %s (%s) overriding system value values (%s) returning %s',
    h.view, h.rows_table, columns, given,
    (select string_agg(format('%I', c.name), ', ') from tidemill._columns(h.rows_table) c));
  -- Without a search path of their own: it would be that of the user's triggers on the rows, too.
  execute format('create or replace function %s() returns trigger language plpgsql as %L', copies, format(
    'begin insert into %s (%s) overriding system value values (%s); return new; end', h.rows_table, columns, given));
  execute format('create or replace trigger _copy instead of insert on %s for each row execute function %s()', h.view, copies);
  perform tidemill._create_changes(h);
end
$$;
comment on function tidemill._create_writes is 'Lets INSERT, COPY, DELETE and UPDATE write through a hypertable''s view into its rows.';

create or replace function tidemill._create_changes(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  changes constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_change', h.id));
  brings_back constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_bring_back', h.id));
  at constant text := format('%I', h.time_column);
  keys constant name[] := tidemill._key(h.rows_table);
  by_key constant text := (select string_agg(format('r.%1$I %2$s old.%1$I', k, tidemill._equals(h.rows_table, k)), ' and ')
                           from unnest(keys) k);
  types constant text := h.time_type || coalesce((
    select string_agg(', ' || c.plain_type, '' order by k.i)
    from unnest(h.segmentby) with ordinality k(name, i) join tidemill._columns(h.rows_table) c using (name)), '');
  is_new constant boolean := to_regprocedure(format('%s(%s)', brings_back, types)) is null;
begin
  -- Whoever may change rows may call it, so it does no more than that.
  execute format('create or replace function %s(%s) returns void'
    ' language plpgsql security definer set search_path = pg_catalog, pg_temp as %L', brings_back, types, format($body$
declare
  segment record;
  chunk regclass;
begin
  for segment in
    select distinct s._chunk as number from %1$s s where s._first <= $1 and s._last >= $1 and (%2$s)%3$s
  loop
    select c.relation into chunk from tidemill._chunks c join pg_class r on r.oid = c.relation
      where c.hypertable_id = %4$s and c.number = segment.number;
    if chunk is null then
      raise exception using errcode = '55000', message = 'the chunk of these packed rows was dropped by hand', hint = format(%6$L, %7$L);
    end if;
    -- Before its segments, as compress_chunk does.
    execute format('lock table %%s in row exclusive mode', chunk);
    for segment in
      select s.tableoid as source, s.ctid as place, s._rows as rows from %1$s s
      where s._chunk = segment.number and s._first <= $1 and s._last >= $1 and (%2$s)%3$s
      for update
    loop
      perform %5$s(chunk, segment.source, segment.place, segment.rows);
    end loop;
  end loop;
end$body$, h.segments, tidemill._holds(h, 's', '$1'),
    coalesce((select string_agg(format(' and s.%I is not distinct from $%s', k.name, k.i + 1), '')
              from unnest(h.segmentby) with ordinality k(name, i)
              where k.name = any(tidemill._plain_segmentby(h))), ''),
    h.id, format('%I.%I', h.chunks_schema, format('_hyper_%s_unpack', h.id)),
    'Forget it: SELECT tidemill.make_chunks(%L)', h.rows_table));
  -- Those who may change rows keep it.
  if is_new then
    perform tidemill._revoke_from_others(format('%s(%s)', brings_back, types)::regprocedure);
  end if;
  execute format('create or replace function %s() returns trigger language plpgsql as %L', changes,
    case when keys is null then format($body$
begin
  raise exception using errcode = '0A000', message = 'packed rows of %s cannot be told apart, since it has no key',
    hint = 'Decompress the chunk, and change its rows in %s.';
end$body$, replace(h.view::text, '''', ''''''), replace(h.rows_table::text, '''', ''''''))
    else format($body$
begin
  if tg_op operator(pg_catalog.=) 'UPDATE' and not %1$L::boolean then
    raise exception using errcode = '0A000', message = 'UPDATE through this view is not enabled', hint = 'Its owner can say: SELECT tidemill.set_updatable(''...'', true)';
  end if;
  if tg_op operator(pg_catalog.=) 'UPDATE' and %10$s then
    raise exception using errcode = '428C9', message = 'a column that is generated, or always an identity, cannot be updated',
      hint = 'Leave it out.';
  end if;
  -- Twice: whoever packed the row meanwhile cannot do so again, since its chunk is locked by then.
  for pass in 1..2 loop
    perform %2$s(old.%3$s%4$s);
    if tg_op operator(pg_catalog.=) 'DELETE' then
      delete from %5$s r where %6$s and %11$s;
    else
      update %5$s r set (%7$s) = row(%8$s) where %6$s and %11$s%9$s;
    end if;
    if found then
      return case when tg_op operator(pg_catalog.=) 'DELETE' then old else new end;
    end if;
  end loop;
  if exists (select from %5$s r where %6$s) then
    -- The statement has chosen the row as it was.
    raise exception using errcode = '40001', message = 'could not change a row, since another session has changed it meanwhile',
      hint = 'Try the transaction again.';
  end if;
  return null;
end$body$, h.is_updatable, brings_back, at,
      (select coalesce(string_agg(format(', old.%I', s), ''), '') from unnest(h.segmentby) s), h.rows_table, by_key,
      (select string_agg(format('%I', c.name), ', ') from tidemill._columns(h.rows_table) c where c.is_given),
      (select string_agg(format('new.%I', c.name), ', ') from tidemill._columns(h.rows_table) c where c.is_given),
      (select ' returning ' || string_agg(format('r.%I', c.name), ', ') || ' into ' || string_agg(format('new.%I', c.name), ', ')
       from tidemill._columns(h.rows_table) c where c.is_generated),
      coalesce((select format('row(%s)::pg_catalog.text operator(pg_catalog.<>) row(%s)::pg_catalog.text',
          string_agg(format('new.%I', c.name), ', '), string_agg(format('old.%I', c.name), ', '))
        from tidemill._columns(h.rows_table) c where not c.is_given), 'false'),
      (select format('row(%s)::pg_catalog.text operator(pg_catalog.=) row(%s)::pg_catalog.text',
          string_agg(format('r.%I', c.name), ', '), string_agg(format('old.%I', c.name), ', '))
        from tidemill._columns(h.rows_table) c)) end);
  execute format('create or replace trigger _change instead of update or delete on %s for each row execute function %s()', h.view, changes);
end
$$;
comment on function tidemill._create_changes is
  'Lets DELETE and UPDATE through a hypertable''s view bring packed rows back first. Rows are told apart by their key.';

create or replace function tidemill._create_unpack(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  unpack constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_unpack', h.id));
begin
  execute format(
    'create or replace function %s(chunk regclass, source oid, place tid, rows integer) returns void'
    ' language plpgsql security definer set search_path = pg_catalog, pg_temp as %L', unpack, format($body$
declare
  gone %s;
  back bigint;
begin
  if not exists (select from pg_inherits i where i.inhrelid = chunk and i.inhparent = (select h.rows_table from tidemill._hypertables h where h.id = %s)) then
    raise exception using errcode = '42501', message = format('"%%s" is not a chunk of this hypertable', chunk);
  end if;
  if exists (select from pg_trigger t where t.tgrelid = chunk and not t.tgisinternal and t.tgname <> '~tidemill_guard'
             and t.tgtype & 4 = 4 and t.tgenabled <> 'D') then
    raise exception using errcode = '55000',
      message = format('a row of %%s that is packed with others is asked for, and to bring them back would fire triggers', chunk),
      hint = format('First: SELECT tidemill.decompress_chunk(%%L)', chunk);
  end if;
  -- By their places: columns may be called as these arguments are.
  delete from %s s where s.tableoid = $2 and s.ctid = $3 returning s.* into gone;
  if not found then
    return;
  end if;
  -- The guard lets pass what comes while this stands there. Nobody else may write it.
  insert into %s (_place, _chunk, _first, _last, _rows%s) values (gone._place, - gone._chunk, gone._first, gone._last, 0%s);
  execute format(%L, chunk) using gone;
  get diagnostics back = row_count;
  delete from %s s where s._chunk = - gone._chunk;
  if back <> $4 then
    raise exception using errcode = 'data_corrupted', message = 'packed rows did not all come back';
  end if;
end$body$, h.segments, h.id, h.segments, h.segments,
    (select coalesce(string_agg(format(', %I', k), ''), '') from unnest(h.segmentby) k),
    (select coalesce(string_agg(format(', gone.%I', k), ''), '') from unnest(h.segmentby) k),
    format('insert into %%s (%s) overriding system value select %1$s from (%s) _rows',
      replace(tidemill._stored_columns(h.rows_table), '%', '%%'),
      replace(tidemill._decoded(h, '(select ($1).*) _gone'), '%', '%%')), h.segments));
  perform tidemill._revoke_from_others((unpack || '(regclass, oid, tid, integer)')::regprocedure);
end
$$;
comment on function tidemill._create_unpack is 'Creates the function that brings the rows of one segment back into a chunk.';

create or replace function tidemill._create_upsert_triggers(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  upserts constant text := format('%I.%I', h.chunks_schema, format('_hyper_%s_upsert', h.id));
begin
  -- A statement that may update what it meets fires these before its first row, and after its last one.
  execute format('create or replace function %s() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as %L', upserts,
    $body$
begin
  perform set_config('tidemill.upserting', case tg_when when 'BEFORE' then tg_relid::text else '' end, true);
  return null;
end$body$);
  execute format('create or replace trigger "~tidemill_upsert_begins" before update on %s for each statement execute function %s()',
    h.rows_table, upserts);
  execute format('create or replace trigger "~tidemill_upsert_ends" after update on %s for each statement execute function %s()',
    h.rows_table, upserts);
end
$$;
comment on function tidemill._create_upsert_triggers is
  'Lets the guard tell INSERT from ON CONFLICT DO UPDATE and MERGE, which cannot update a row that comes back meanwhile.';

create or replace function tidemill._key(relation regclass) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select array(select a.attname from pg_attribute a
               where a.attrelid = relation and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1]))
  from pg_index i
  where i.indrelid = relation and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
    and not exists (select from pg_attribute a
                    where a.attrelid = relation and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1]) and not a.attnotnull)
  order by i.indisprimary desc, i.indexrelid limit 1
$$;
comment on function tidemill._key is 'Columns that tell the rows of a table apart: its primary key, or another; NULL if there is none.';

create or replace function tidemill._equals(relation regclass, column_name name) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select coalesce((
    select format('operator(%I.%s)', n.nspname, o.oprname)
    from pg_attribute a
    join pg_opclass c on c.opcintype = a.atttypid and c.opcdefault
    join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
    join pg_amop p on p.amopfamily = c.opcfamily and p.amoplefttype = c.opcintype and p.amoprighttype = c.opcintype and p.amopstrategy = 3
    join pg_operator o on o.oid = p.amopopr
    join pg_namespace n on n.oid = o.oprnamespace
    where a.attrelid = relation and a.attname = column_name), 'operator(pg_catalog.=)')
$$;
comment on function tidemill._equals is 'The operator by which values of a column are equal, with its schema: a type may have its own.';
