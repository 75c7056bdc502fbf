-- The view over the rows and the packed rows of a hypertable, and how it is written to.

create or replace function tidemill._create_view(h tidemill._hypertables, rows_schema name default null) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  schema_name name;
  table_name name;
  c record;
begin
  select n.nspname, r.relname into schema_name, table_name
    from pg_class r join pg_namespace n on n.oid = r.relnamespace where r.oid = h.rows_table;
  if h.is_transparent then
    rows_schema := coalesce(rows_schema, (schema_name || '_rows')::name);
    if rows_schema = schema_name then
      raise exception using errcode = '22023', message = format('rows_schema "%s" is the schema of the view', rows_schema),
        hint = 'Both have the name of the table, so name another.';
    end if;
    perform tidemill._own_schema(rows_schema);
    execute format('alter table %s set schema %I', h.rows_table, rows_schema);
  else
    table_name := left(table_name, 59) || '_all';
  end if;
  execute format('create view %I.%I with (security_invoker = true) as %s', schema_name, table_name, tidemill._all_rows(h));
  h.view := format('%I.%I', schema_name, table_name)::regclass;
  for c in select * from tidemill._columns(h.rows_table) loop
    if c.default_expression is not null then
      execute format('alter view %s alter %I set default %s', h.view, c.name, c.default_expression);
    elsif c.is_identity then
      execute format('alter view %s alter %I set default nextval(%L)', h.view, c.name,
        pg_get_serial_sequence(h.rows_table::text, c.name));
    end if;
  end loop;
  perform tidemill._create_unpack(h);
  perform tidemill._create_upsert_triggers(h);
  perform tidemill._create_writes(h);
  perform tidemill._share_grants(h);
  if not h.is_updatable then
    -- Locking rows through a view asks for this privilege, and would lock none.
    execute format('revoke update on %s from %I', h.view, current_user);
  end if;
  if h.is_transparent then
    raise notice using
      message = format('%s is now a view over rows and segments; its rows stand in %s', h.view, h.rows_table),
      hint = format('Who upserts, merges, or locks rows puts %I first: SET search_path = %1$I, %I', rows_schema, schema_name);
  else
    raise notice using
      message = format('%s has the rows that are not packed; the view %s has all', h.rows_table, h.view),
      hint = 'With set_transparent the name becomes the view''s.';
  end if;
  return h.view;
end
$$;
comment on function tidemill._create_view is
  'Makes a hypertable''s view, and what it is written by; moves the table of rows, if the view takes its name. Returns the view.';

create or replace function tidemill._all_rows(h tidemill._hypertables) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('select %s from %s', (select string_agg(format('%I', c.name), ', ') from tidemill._columns(h.rows_table) c),
                h.rows_table)
    || string_agg(case
         when a.low is null and a.high is null then ' union all ' || tidemill._decoded(h, h.segments::text)
         -- A chunk may have come that crosses a cut: its segments are in both arms, and each row in one.
         else format(' union all select * from (%s) _arm where %s',
           tidemill._decoded(h, h.segments || ' where ' || concat_ws(' and ',
             nullif(tidemill._time_within(h, '_last', a.low, null), ''), nullif(tidemill._time_within(h, '_first', null, a.high), ''))),
           tidemill._time_within(h, quote_ident(h.time_column), a.low, a.high))
         end, '' order by a.low desc nulls last)
  from tidemill._arms(h) a
$$;
comment on function tidemill._all_rows is 'The query of a hypertable''s view.';

create or replace function tidemill._arms(h tidemill._hypertables, out low bigint, out high bigint) returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Three arms of each size: 1,000 chunks are 27 arms. None ends where the oldest chunk begins: below is nothing, and
  -- each arm with an end decodes the time of all of its rows.
  with recursive numbered as (
    select k.range_start, row_number() over (order by k.range_start desc) as n
    from tidemill._chunks k where k.hypertable_id = h.id and k.is_compressed
  ),
  ends as (
    -- They cost something, and only with this setting PostgreSQL leaves any out.
    select 1::bigint as n, 1 as arm where (select count(*) from numbered) > 1 and current_setting('constraint_exclusion') = 'on'
    union all
    select e.n + (1::bigint << ((e.arm - 1) / 3)), e.arm + 1 from ends e
    where e.n + (1::bigint << ((e.arm - 1) / 3)) < (select count(*) from numbered)
  )
  select b.range_start, lag(b.range_start) over (order by b.range_start desc nulls last)
  from (select k.range_start from numbered k join ends e using (n)
        where tidemill._bound_literal(h.time_type, k.range_start) <> 'minvalue'
        union all select null) b
$$;
comment on function tidemill._arms is
  'The ranges into which a view cuts the packed rows, growing with age, so that it leaves out what a query does not ask for.';

create or replace function tidemill._time_within(h tidemill._hypertables, expression text, low bigint, high bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(' and ',
    case when low is not null then format('%s >= %L::%s', expression, tidemill._time_text(h.time_type, low), h.time_type) end,
    case when high is not null then format('%s < %L::%s', expression, tidemill._time_text(h.time_type, high), h.time_type) end)
$$;
comment on function tidemill._time_within is 'A condition: that a time is in a range, whose ends may be NULL.';

create or replace function tidemill._cut_arms(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  arms constant bigint[] := array(select a.low from tidemill._arms(h) a where a.low is not null order by 1 desc);
begin
  -- The view may have been dropped by hand.
  if arms = h.arms or not exists (select from pg_class r where r.oid = h.view) then
    return;
  end if;
  execute format('create or replace view %s with (security_invoker = true) as %s', h.view, tidemill._all_rows(h));
  h.arms := arms;
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
exception when lock_not_available or undefined_table or wrong_object_type or invalid_table_definition or insufficient_privilege then
  -- The old ones are right, too. A reader that is long in its transaction is not in the way of the others, and who has
  -- laid the view out anew meanwhile has cut it.
  return;
end
$$;
comment on function tidemill._cut_arms is 'Cuts the arms of a hypertable''s view anew, if its compressed chunks are others now, and nobody is in the way.';

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
  named constant text := 'at ' || h.time_type || coalesce((
    select string_agg(format(', k%s %s', k.i, c.plain_type), '' order by k.i)
    from unnest(h.segmentby) with ordinality k(name, i) join tidemill._columns(h.rows_table) c using (name)), '');
begin
  -- Whoever may change rows may call it, so it does no more than that.
  execute format('create or replace function %s(%s) returns void'
    ' language plpgsql security definer set search_path = pg_catalog, pg_temp as %L', brings_back, named, format($body$
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
    raise exception using errcode = '0A000', message = 'UPDATE through this view is not enabled', hint = 'See enable_compression: updatable.';
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

create or replace function tidemill._share_grants(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  g record;
  sequence_name text;
begin
  for g in
    select case when a.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as grantee,
           a.privilege_type, a.is_grantable
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = h.rows_table and a.grantee <> c.relowner
      and (a.privilege_type in ('SELECT', 'INSERT', 'DELETE') or a.privilege_type = 'UPDATE' and h.is_updatable)
  loop
    execute format('grant %s on %s to %s%s', g.privilege_type, h.view, g.grantee, case when g.is_grantable then ' with grant option' end);
    if g.privilege_type = 'SELECT' then
      execute format('grant select on %s to %s', h.segments, g.grantee);
    end if;
    if g.privilege_type in ('DELETE', 'UPDATE') then
      execute format('grant execute on function %s to %s',
        (select p.oid::regprocedure from pg_proc p
         where p.pronamespace = h.chunks_schema::text::regnamespace and p.proname = format('_hyper_%s_bring_back', h.id)), g.grantee);
    end if;
    if g.privilege_type = 'INSERT' then
      -- The defaults of the view are those of its identity columns.
      for sequence_name in
        select pg_get_serial_sequence(h.rows_table::text, k.name) from tidemill._columns(h.rows_table) k where k.is_identity
      loop
        execute format('grant usage on sequence %s to %s', sequence_name, g.grantee);
      end loop;
    end if;
    -- The view reads and writes as whoever uses it.
    execute format('grant usage on schema %I, %s to %s', h.chunks_schema,
      (select c.relnamespace::regnamespace from pg_class c where c.oid = h.rows_table), g.grantee);
  end loop;
end
$$;
comment on function tidemill._share_grants is 'Grants on the view what is granted on the rows.';

create or replace function tidemill._own_schema(schema_name name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._expect_own_schema(schema_name, current_user::regrole);
  if exists (select from pg_namespace n where n.nspname = schema_name and has_schema_privilege(n.oid, 'create')) then
    return;
  end if;
  if exists (select from pg_namespace n where n.nspname = schema_name) or not has_database_privilege(current_database(), 'create') then
    raise exception using errcode = '42501', message = format('permission denied to create in the schema "%s"', schema_name),
      hint = format('Let an administrator run: CREATE SCHEMA %I AUTHORIZATION %I; or name a schema of your own: rows_schema', schema_name, current_user);
  end if;
  execute format('create schema %I', schema_name);
end
$$;
comment on function tidemill._own_schema is 'Creates a schema, if the caller cannot create in it already. Error: 42501 nor may they create it.';
