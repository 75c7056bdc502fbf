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
  f record;
begin
  perform tidemill._check_owner_itself(h.rows_table, 'enable compression on');
  perform tidemill._expect_read_committed();
  if h.segments is not null then
    raise exception using errcode = '42710', message = format('compression is already enabled on hypertable "%s"', tidemill._bare_name(hypertable)),
      hint = 'Compress its chunks with compress_chunk.';
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
  for f in select c.conname, pg_get_constraintdef(c.oid) as definition from pg_constraint c
           where c.contype = 'f' and c.conrelid = h.rows_table
  loop
    execute format('alter table %s add constraint %I %s', h.segments, f.conname, f.definition);
  end loop;
  h.view := tidemill._create_view(h, rows_schema);
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
  perform tidemill._create_time_functions(h);
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
or a view would break: it is named.$$;

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

create or replace function tidemill._refuse_what_is_not_packed(h tidemill._hypertables) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  relation constant regclass := h.rows_table;
  broken text;
begin
  select string_agg(b.what, ', ' order by b.what) into broken
    from (
      select format('the foreign key %I of %s', f.conname, f.conrelid::regclass) as what from pg_constraint f
        where f.contype = 'f' and f.confrelid = relation and f.conparentid = 0
      union all
      select format('the publication %I', p.pubname) from pg_publication p
        where p.puballtables or exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = relation)
          or exists (select from pg_publication_namespace n join pg_class c on c.relnamespace = n.pnnspid
                     where n.pnpubid = p.oid and c.oid = relation)
      union all
      select 'row level security' from pg_class c where c.oid = relation and c.relrowsecurity
      union all
      select format('the constraint %I, which is deferrable', f.conname) from pg_constraint f
        where f.conrelid = relation and f.condeferrable
      union all
      select format('the column %I of a type that does not come back as it was', n.name) from tidemill._not_packed_types(relation) n
      union all
      -- One on columns of segmentby stands on the segments, too.
      select format('the foreign key %I, whose columns are not in segmentby', f.conname)
        from pg_constraint f where f.contype = 'f' and f.conrelid = relation and not tidemill._is_of_segments(h, f.conkey)
    ) b;
  if broken is not null then
    raise exception using errcode = '0A000',
      message = format('compression cannot be enabled on "%s", since it would break: %s', relation, broken),
      hint = 'Drop what is named first.';
  end if;
end
$$;
comment on function tidemill._refuse_what_is_not_packed is 'Raises 0A000 if something would no longer protect or tell all rows once some are packed.';

create or replace function tidemill._not_packed_types(relation regclass) returns table (name name, type text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with recursive parts(name, type, part) as (
    select c.name, c.type, a.atttypid
      from tidemill._columns(relation) c join pg_attribute a on a.attrelid = relation and a.attname = c.name
      where c.family = 'text'
    union
    select p.name, p.type, i.part
      from parts p join pg_type t on t.oid = p.part
      cross join lateral (
        select t.typelem where t.typelem <> 0
        union all
        select t.typbasetype where t.typtype = 'd'
        union all
        select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
        union all
        select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
      ) i(part)
  )
  -- Packed as text, a name or an amount means another value, or none, once somebody renames or sets something else.
  select distinct p.name, p.type from parts p join pg_type t on t.oid = p.part
  where t.typtype = 'e' or t.typnamespace = 'pg_catalog'::regnamespace and (t.typname = 'money' or t.typname like 'reg%')
$$;
comment on function tidemill._not_packed_types is
  'The columns of a table, with their types, that would be packed as text (arrays), and have in them enums, money or names of objects.';

create or replace function tidemill._is_of_segments(h tidemill._hypertables, columns smallint[]) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select bool_and(a.attname = any(h.segmentby))
  from pg_attribute a where a.attrelid = h.rows_table and a.attnum = any(columns)
$$;
comment on function tidemill._is_of_segments is 'Whether the segments have these columns of the table as they are.';

create or replace function tidemill._tell_what_a_view_breaks(h tidemill._hypertables, is_wanted boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  relation constant regclass := h.rows_table;
  broken text;
begin
  select string_agg(b.what, ', ' order by b.what) into broken
    from (
      select tidemill._dependents(relation) as what
      union all
      select format('the grants on the column %I', a.attname) from pg_attribute a
        where a.attrelid = relation and cardinality(a.attacl) > 0 and a.attnum > 0
      union all
      select format('the function %s, which upserts, merges or locks rows', p.oid::regprocedure) from pg_proc p
        where p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'tidemill'::regnamespace)
          and p.proname !~ E'^_hyper_\\d+_' and tidemill._needs_a_table(p.prosrc, relation)
      union all
      select format('the statement "%s"', left(regexp_replace(s.s, E'\\s+', ' ', 'g'), 80)) from tidemill._statements_seen() s(s)
        where tidemill._needs_a_table(s.s, relation)
    ) b;
  if broken is not null and is_wanted then
    raise warning using message = format('this breaks: %s', broken),
      hint = format('What reads or writes the name as a table can use its rows: %I.', tidemill._bare_name(relation));
  elsif broken is not null then
    raise exception using errcode = '0A000',
      message = format('compression cannot be enabled on "%s", since a view of its name would break: %s', relation, broken),
      hint = 'Say transparent => false, and the name stays the table''s; or true, if that is meant.';
  end if;
end
$$;
comment on function tidemill._tell_what_a_view_breaks is
  'Warns of what no longer works, or reads only rows that are not packed, once the name is a view''s; raises 0A000 unless that is wanted.';

create or replace function tidemill._needs_a_table(source text, relation regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select source ~* E'\\m(on\\s+conflict|merge\\s+into|for\\s+(no\\s+key\\s+)?update|for\\s+(key\\s+)?share)\\M'
    and source ~* (E'(^|\\W)' || regexp_replace(tidemill._bare_name(relation), E'(\\W)', E'\\\\\\1', 'g') || E'(\\W|$)')
$$;
comment on function tidemill._needs_a_table is 'Whether a source text seems to do with a table what a view cannot.';

create or replace function tidemill._statements_seen() returns setof text
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  place text;
begin
  select format('%I.pg_stat_statements', n.nspname) into place
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements';
  if found then
    return query execute format(
      'select distinct s.query from %s s where s.dbid = (select d.oid from pg_database d where d.datname = current_database())', place);
  end if;
exception when others then
  -- It is installed without being loaded, or may not be read.
  return;
end
$$;
comment on function tidemill._statements_seen is 'The statements of this database that pg_stat_statements tells, where it is there.';

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
