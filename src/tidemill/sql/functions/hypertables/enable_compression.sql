create or replace function tidemill.enable_compression(
  hypertable regclass,
  segmentby text default '',
  orderby text default '',
  transparent boolean default null,
  updatable boolean default false,
  set_constraint_exclusion boolean default false,
  rows_schema name default null
) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
begin
  perform tidemill._check_owner_itself(h.rows_table, 'enable compression on');
  perform tidemill._expect_read_committed();
  if h.segments is not null then
    raise exception using errcode = '42710', message = format('compression is already enabled on hypertable "%s"', tidemill._bare_name(hypertable)),
      hint = format('Compress its chunks with compress_chunk. To choose anew, first: SELECT tidemill.disable_compression(%L)', hypertable);
  end if;
  execute format('lock table %s in access exclusive mode', h.rows_table);
  if tidemill._is_compressible(h.id) then
    raise exception using errcode = '42710', message = format('compression is already enabled on hypertable "%s"', tidemill._bare_name(hypertable)),
      hint = 'Another session has just done it.';
  end if;
  h.segmentby := tidemill._segmentby(h, coalesce(segmentby, ''));
  h.orderby := tidemill._orderby(h, coalesce(orderby, ''));
  h.is_transparent := coalesce(transparent, true);
  h.is_updatable := coalesce(updatable, false);
  perform tidemill._refuse_what_is_not_packed(h);
  if h.is_transparent then
    perform tidemill._tell_what_a_view_breaks(h, transparent is not null);
  end if;
  h.segments := tidemill._create_segments(h);
  perform tidemill._match_foreign_keys(h);
  h := tidemill._create_view(h, rows_schema);
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
  perform tidemill._create_time_functions(h);
  perform tidemill._note_hypertable_act(h, 'enable_compression', null, tidemill._packing_in_short(h));
  perform tidemill._tell_constraint_exclusion(set_constraint_exclusion);
  return h.view;
end
$$;
comment on function tidemill.enable_compression is
$$Lets the chunks of a hypertable be compressed. Its name becomes a view over its rows and its packed rows.

hypertable   a table that create_hypertable has made
segmentby    columns, separated by commas, by which packed rows are found fast, for instance the device; default none
orderby      columns by which the rows of a segment are ordered, for instance 'time DESC'; default by time
transparent  true: the name becomes the view, also where that breaks something, which a warning tells; NULL (default): so,
             but it is refused where it would; false: the name stays the table's, and the view is <name>_all
updatable    true: UPDATE works through the view, and who may UPDATE may lock rows through it, which locks no packed row
set_constraint_exclusion  true: sets constraint_exclusion = on for the database, so that chunks are left out early
rows_schema  where the table of rows goes; default the table's schema and "_rows"

Returns the view. SELECT, INSERT, COPY and (of a table with a key) DELETE go on under the name; the table of rows has the
same name in its own schema. ON CONFLICT, MERGE and row locks are refused through the view, and work on that table. Beside the
table are made <name>_between(from, to), <name>_recent(age) and <name>_latest(columns of segmentby), which read no more
packed rows than they must.

NULL for an argument is its default.

Errors: TS001 no hypertable, 42501 not its owner, or no right to create a schema, 42710 enabled already, 42703 no such column,
42723 somebody else has a function of such a name beside the table,
42611 the time or a name of Tidemill's in segmentby, 22023 an orderby that cannot be read, 0A000 something that packed rows
or a view would break: it is named, 25001 a transaction that may not see all there is, 55P03 it was locked for 5 seconds.$$;

create or replace function tidemill._is_compressible(id integer) returns boolean
language sql volatile set search_path = pg_catalog, pg_temp
as $$ select exists (select from tidemill._hypertables h where h.id = _is_compressible.id and h.segments is not null) $$;
comment on function tidemill._is_compressible is 'Whether compression is enabled on a hypertable by now.';

create or replace function tidemill._check_owner_itself(relation regclass, act text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  owner constant regrole := (select r.relowner from pg_class r where r.oid = relation);
begin
  perform tidemill._check_owner(relation);
  if owner <> current_user::regrole then
    raise exception using errcode = '42501', message = format('only the owner itself can %s "%s"', act, tidemill._bare_name(relation)),
      hint = format('SET ROLE %s', owner);
  end if;
end
$$;
comment on function tidemill._check_owner_itself is 'Raises 42501 for a member of the owner, too: what is made would be theirs.';

create or replace function tidemill._segmentby(h tidemill._hypertables, given text) returns name[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  column_name text;
  found_names name[] := '{}';
begin
  foreach column_name in array string_to_array(given, ',') loop
    column_name := tidemill._column(h, column_name, 'segmentby');
    if column_name = h.time_column or column_name = any(found_names) then
      raise exception using errcode = '42611', message = format('column "%s" cannot be in segmentby%s', column_name,
          case when column_name = h.time_column then ': it is the time' else ' twice' end),
        hint = 'Name columns by which rows are looked for, such as a device.';
    end if;
    found_names := found_names || column_name::name;
  end loop;
  select c.name into column_name from tidemill._columns(h.rows_table) c
    where c.name in ('_place', '_chunk', '_first', '_last', '_rows', '_row') or strpos(c.name, '~') > 0;
  if found then
    raise exception using errcode = '42611', message = format('a column of %s is called "%s", as one of the segments may be', h.rows_table, column_name),
      hint = 'Rename the column.';
  end if;
  return found_names;
end
$$;

create or replace function tidemill._column(h tidemill._hypertables, given text, argument text) returns name
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  column_name text := trim(given);
begin
  if column_name ~ '^".*"$' then
    column_name := (parse_ident(column_name))[1];
  end if;
  if not exists (select from tidemill._columns(h.rows_table) c where c.name = column_name) then
    raise exception using errcode = '42703', message = format('column "%s" of %s does not exist', column_name, argument),
      hint = format('Give columns of %s, separated by commas.', h.rows_table);
  end if;
  return column_name;
end
$$;

create or replace function tidemill._orderby(h tidemill._hypertables, given text) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  item text;
  parts text[];
  column_name name;
  found_items text[] := '{}';
begin
  foreach item in array string_to_array(given, ',') loop
    parts := regexp_match(item, E'^\\s*("(?:[^"]|"")+"|\\S+?)(\\s+asc|\\s+desc)?(\\s+nulls\\s+first|\\s+nulls\\s+last)?\\s*$', 'i');
    if parts is null then
      raise exception using errcode = '22023', message = format('"%s" of orderby cannot be read', trim(item)),
        hint = 'Write it like ''time DESC, value NULLS LAST''.';
    end if;
    column_name := tidemill._column(h, parts[1], 'orderby');
    if column_name = any(h.segmentby) then
      raise exception using errcode = '42611', message = format('column "%s" cannot be in orderby: it is in segmentby', column_name),
        hint = 'In a segment it is the same everywhere.';
    end if;
    found_items := found_items
      || (quote_ident(column_name) || upper(regexp_replace(concat(parts[2], parts[3]), E'\\s+', ' ', 'g')));
  end loop;
  return found_items;
end
$$;

create or replace function tidemill._tell_constraint_exclusion(sets boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  statement constant text := format('ALTER DATABASE %I SET constraint_exclusion = on', current_database());
begin
  if current_setting('constraint_exclusion') = 'on' then
    return;
  end if;
  if sets is not true then
    raise notice using message = 'queries of some time alone are faster with constraint_exclusion = on', hint = statement;
    return;
  end if;
  execute statement;
exception when insufficient_privilege then
  raise exception using errcode = '42501', message = 'only the owner of the database can set constraint_exclusion for it',
    hint = format('Let them run: %s', statement);
end
$$;
comment on function tidemill._tell_constraint_exclusion is
  'Tells the line that lets PostgreSQL leave out chunks early, unless that is set; or sets it. Error: 42501 without the right.';
