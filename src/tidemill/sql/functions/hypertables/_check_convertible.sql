-- What create_hypertable refuses, each with what to do.

create or replace function tidemill._check_is_table(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  r pg_class;
  what text;
  remedy text := 'Make an ordinary table of it.';
begin
  select c.* into r from pg_class c where c.oid = relation;
  if r.relkind = 'r' and r.relispartition then
    what := format('a partition of "%s"', (select i.inhparent::regclass from pg_inherits i where i.inhrelid = relation));
    remedy := 'Detach it before.';
  elsif r.relkind <> 'r' then
    what := case r.relkind when 'v' then 'a view' when 'm' then 'a materialized view' when 'f' then 'a foreign table'
      when 'p' then 'a partitioned table' when 'S' then 'a sequence' else 'no table' end;
    remedy := case r.relkind when 'p' then 'Where it is partitioned by time, call adopt_hypertable.' else 'Name a table.' end;
  elsif r.relpersistence <> 'p' then
    what := case r.relpersistence when 't' then 'a temporary table' else 'an unlogged table' end;
    remedy := case r.relpersistence when 't' then 'Make a permanent table of it.' else format('Run: alter table %s set logged', relation) end;
  elsif r.reloftype <> 0 then
    what := format('a table of the type %s', r.reloftype::regtype);
    remedy := format('Run: alter table %s not of', relation);
  elsif exists (select from pg_inherits i where i.inhrelid = relation) then
    what := format('inherited from "%s"', (select i.inhparent::regclass from pg_inherits i where i.inhrelid = relation limit 1));
    remedy := 'End the inheritance with: alter table ... no inherit';
  elsif exists (select from pg_inherits i where i.inhparent = relation) then
    what := format('the parent of "%s"', (select i.inhrelid::regclass from pg_inherits i where i.inhparent = relation limit 1));
    remedy := 'End the inheritance with: alter table ... no inherit';
  elsif exists (select from pg_rewrite w where w.ev_class = relation) then
    what := format('a table with the rule "%s"', (select w.rulename from pg_rewrite w where w.ev_class = relation limit 1));
    remedy := 'Drop the rule, or write a trigger in its place.';
  elsif r.relreplident = 'i' then
    what := 'a table whose replica identity is an index';
    remedy := format('Run: alter table %s replica identity default', relation);
  end if;
  if what is not null then
    raise exception using errcode = case when r.relkind in ('r', 'p') then '0A000' else '42809' end,
      message = format('"%s" is %s, which cannot become a hypertable', r.relname, what), hint = remedy;
  end if;
end
$$;
comment on function tidemill._check_is_table is 'Raises 0A000 or 42809 unless it is an ordinary table.';

create or replace function tidemill._check_time_column(relation regclass, time_column name) returns regtype
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  a pg_attribute;
begin
  select c.* into a from pg_attribute c
    where c.attrelid = relation and c.attname = time_column and c.attnum > 0 and not c.attisdropped;
  if not found then
    raise exception using errcode = '42703',
      message = format('column "%s" does not exist', time_column),
      hint = format('The columns of "%s" are: %s', relation, (
        select string_agg(quote_ident(c.attname), ', ' order by c.attnum) from pg_attribute c
        where c.attrelid = relation and c.attnum > 0 and not c.attisdropped));
  end if;
  if a.attgenerated <> '' then
    raise exception using errcode = '0A000',
      message = format('the column "%s" is generated, and cannot be the time', time_column),
      hint = 'Cut by the column that it is made of.';
  end if;
  if a.atttypid not in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype)
  then
    raise exception using errcode = '42804',
      message = format('the column "%s" has the type %s, which cannot be a time', time_column, format_type(a.atttypid, null)),
      hint = 'Use timestamptz, timestamp, date, smallint, integer or bigint.';
  end if;
  return a.atttypid;
end
$$;
comment on function tidemill._check_time_column is 'The type of the time column. Errors: 42703 there is none, 42804 it is no time, 0A000 it is generated.';

create or replace function tidemill._check_parts(relation regclass, time_column name) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  found_name text;
  many text;
begin
  select i.indexrelid::regclass::text into found_name
    from pg_index i
    where i.indrelid = relation and (i.indisunique or i.indisexclusion) and not exists (
      select from unnest(i.indkey[:i.indnkeyatts - 1]) k
      join pg_attribute a on a.attrelid = relation and a.attnum = k where a.attname = time_column)
    order by 1 limit 1;
  if found then
    raise exception using errcode = '0A000',
      message = format('the unique index "%s" is without the column "%s"', found_name, time_column),
      hint = 'Each chunk keeps its own rows unique: add the column to the key, or drop it.';
  end if;
  select c.conname into found_name from pg_constraint c
    where c.conrelid = relation and (c.contype = 'c' and c.connoinherit
      or c.contype = 'x' and current_setting('server_version_num')::integer < 170000)
    order by 1 limit 1;
  if found then
    raise exception using errcode = '0A000',
      message = format('the constraint "%s" is of a kind that a partitioned table cannot have', found_name),
      hint = 'Drop it, or (NO INHERIT) make it anew without that word.';
  end if;
  select t.tgname into found_name from pg_trigger t
    where t.tgrelid = relation and not t.tgisinternal and t.tgtype & 1 = 1 and (t.tgoldtable is not null or t.tgnewtable is not null)
    order by 1 limit 1;
  if found then
    raise exception using errcode = '0A000',
      message = format('the trigger "%s" is for each row, and has a transition table', found_name),
      hint = 'Make it FOR EACH STATEMENT.';
  end if;
  perform tidemill._check_outside(relation);
  many := tidemill._dependents(relation);
  if many is not null then
    raise exception using errcode = '2BP01',
      message = format('other objects depend on "%s": %s', relation, many),
      hint = 'Drop them before, and make them again afterwards.';
  end if;
end
$$;
comment on function tidemill._check_parts is 'Raises 0A000 or 2BP01 for what a table has that a hypertable cannot have.';

create or replace function tidemill._check_outside(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  many text;
begin
  select string_agg(format('"%s" on %s', c.conname, c.conrelid::regclass), ', ' order by c.conname) into many
    from pg_constraint c where c.confrelid = relation and c.contype = 'f' and c.conparentid = 0;
  if many is not null then
    raise exception using errcode = '0A000',
      message = format('foreign keys point at "%s": %s', relation, many),
      hint = 'Drop them before. Chunks that are dropped would take away what they point at.';
  end if;
  select string_agg(quote_ident(p.pubname), ', ' order by p.pubname) into many
    from pg_publication p
    where p.puballtables
      or exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = relation)
      or exists (select from pg_publication_namespace n join pg_class r on r.relnamespace = n.pnnspid
                 where n.pnpubid = p.oid and r.oid = relation);
  if many is not null then
    raise exception using errcode = '0A000',
      message = format('"%s" is published: %s', relation, many),
      hint = 'Take it out of the publication: rows that are packed or moved would be told as deleted.';
  end if;
end
$$;
comment on function tidemill._check_outside is
  'Raises 0A000 for foreign keys and publications: to them, a row that is moved or packed would look like a deleted one.';

create or replace function tidemill._dependents(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select string_agg(distinct d.what, ', ' order by d.what) from (
    select pg_describe_object('pg_class'::regclass, w.ev_class, 0) as what
      from pg_depend d join pg_rewrite w on w.oid = d.objid
      where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = relation and w.ev_class <> relation
    union all
    select pg_describe_object(d.classid, d.objid, d.objsubid)
      from pg_depend d
      where d.refclassid = 'pg_class'::regclass and d.refobjid = relation and d.deptype = 'n'
        and (d.classid = 'pg_proc'::regclass
          or d.classid = 'pg_policy'::regclass and not exists (select from pg_policy p where p.oid = d.objid and p.polrelid = relation))
    union all
    select pg_describe_object(d.classid, d.objid, d.objsubid)
      from pg_class r join pg_type t on t.oid = r.reltype
      join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray) and d.deptype = 'n'
      where r.oid = relation
  ) d
$$;
comment on function tidemill._dependents is 'Views, functions and columns that are built on a table or its row type, as text; NULL if there are none.';
