-- What packed rows, or a view in the place of the table, would break: looked for before compression is enabled.

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
      select format('the foreign key %I, which sets a default', f.conname) from pg_constraint f
        where f.conrelid = relation and f.contype = 'f' and 'd' in (f.confdeltype, f.confupdtype)
      union all
      select format('the foreign key %I, which sets NULL in a unique index that takes NULLs for equal', f.conname)
        from pg_constraint f join pg_index i on i.indrelid = f.conrelid and i.indisunique and i.indnullsnotdistinct
        where f.conrelid = relation and f.contype = 'f' and 'n' in (f.confdeltype, f.confupdtype)
          and f.conkey && (i.indkey::smallint[])
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
      hint = 'What reads or writes the name as a table can use the table of rows, which the next notice names.';
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
