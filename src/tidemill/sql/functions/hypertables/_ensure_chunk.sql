create or replace function tidemill._ensure_chunk(h tidemill._hypertables, units bigint, source regclass default null)
returns tidemill._chunks
language plpgsql set search_path = pg_catalog, pg_temp set default_tablespace = ''
as $$
declare
  c tidemill._chunks;
  rest constant regclass := tidemill._default_partition(h);
  owner constant regrole := (select r.relowner from pg_class r where r.oid = h.rows_table);
  place name := (select s.spcname from pg_class r join pg_tablespace s on s.oid = r.reltablespace where r.oid = rest);
  options constant text := tidemill._storage_options(rest);
  columns constant text := tidemill._stored_columns(h.rows_table);
  made text;
  within text;
  has_rows boolean;
  low text;
  high text;
  taken bigint := 0;
  copied bigint := 0;
begin
  select k.* into c from tidemill._chunks k
    where k.hypertable_id = h.id and k.range_start <= units and units < k.range_end;
  if found then
    return c;
  end if;
  perform tidemill._expect_read_committed();
  -- ATTACH alone lets inserts go on, but one that has chosen the default partition for its row then fails.
  execute format('lock table only %s in share row exclusive mode', h.rows_table);
  select k.* into c from tidemill._chunks k
    where k.hypertable_id = h.id and k.range_start <= units and units < k.range_end;
  if found then
    return c;
  end if;
  select b.low, b.high into c.range_start, c.range_end from tidemill._chunk_bounds(h, units) b;
  select h.id, coalesce(max(k.number), 0) + 1 into c.hypertable_id, c.number
    from tidemill._chunks k where k.hypertable_id = h.id;
  made := tidemill._free_chunk_name(h, c.number);
  if cardinality(h.tablespaces) > 0 then
    place := h.tablespaces[1 + (c.number - 1) % cardinality(h.tablespaces)];
    perform tidemill._check_tablespace(place, owner);
    -- For the indexes, which ATTACH makes.
    perform set_config('default_tablespace', place, true);
  end if;
  low := tidemill._bound_literal(h.time_type, c.range_start);
  high := tidemill._bound_literal(h.time_type, c.range_end);
  within := concat_ws(' and ', format('%I is not null', h.time_column),
    case when low <> 'minvalue' then format('%I operator(pg_catalog.>=) %s', h.time_column, low) end,
    case when high <> 'maxvalue' then format('%I operator(pg_catalog.<) %s', h.time_column, high) end);
  execute format('select exists (select from %s where %s)', rest, within) into has_rows;
  if has_rows then
    -- A reader that has planned without the new chunk, and waits for the default partition, would miss them.
    execute format('lock table only %s in access exclusive mode', h.rows_table);
  end if;
  execute format('lock table %s in access exclusive mode', rest);
  -- With the CHECK, ATTACH needs not look at the rows.
  execute format(
    'create table %s (like %s including all excluding indexes excluding identity excluding statistics excluding comments,'
    ' constraint _hyper_range check (%s))%s%s',
    made, h.rows_table, within, ' with (' || options || ')', ' tablespace ' || quote_ident(place));
  taken := tidemill._move_rows(rest, made::regclass, columns, within);
  if source is not null then
    execute format('insert into %s (%s) overriding system value select %2$s from only %3$s where %4$s',
      made, columns, source, within);
    get diagnostics copied = row_count;
  end if;
  perform tidemill._copy_replica_identity(rest, made::regclass);
  perform tidemill._revoke_from_others(made::regclass);
  if owner <> current_user::regrole then
    execute format('alter table %s owner to %s', made, owner);
  end if;
  execute format('alter table %s attach partition %s for values from (%s) to (%s)', h.rows_table, made, low, high);
  execute format('alter table %s drop constraint _hyper_range', made);
  c.relation := made::regclass;
  c.number := null;
  c.is_compressed := false;
  insert into tidemill._hypertable_requests as q (c, verb) values (c, 'keep c')
    returning (q.c).number, (q.c).created_at into c.number, c.created_at;
  return c;
end
$$;
comment on function tidemill._ensure_chunk is
  'The chunk that holds this time; made if it is missing, with the rows of its range from the default partition, and copies of those of a table.';

create or replace function tidemill._free_chunk_name(h tidemill._hypertables, number integer) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  made text;
begin
  loop
    made := format('%I.%I', h.chunks_schema, format('_hyper_%s_%s_chunk', h.id, number));
    -- A detached chunk keeps its name.
    exit when to_regclass(made) is null and to_regtype(made) is null;
    number := number + 1;
  end loop;
  return made;
end
$$;
comment on function tidemill._free_chunk_name is 'The name of a new chunk, as SQL: by its number, or the next one whose name is free.';

create or replace function tidemill._default_partition(h tidemill._hypertables) returns regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$ select nullif(p.partdefid, 0)::regclass from pg_partitioned_table p where p.partrelid = h.rows_table $$;

create or replace function tidemill._chunk_bounds(h tidemill._hypertables, units bigint, out low bigint, out high bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Where the width was another once, the neighbours cut it off.
  select
    greatest(b.low, -9223372036854775808,
      (select max(k.range_end) from tidemill._chunks k where k.hypertable_id = h.id and k.range_end <= units))::bigint,
    least(b.low + h.chunk_width, 9223372036854775807,
      (select min(k.range_start) from tidemill._chunks k where k.hypertable_id = h.id and k.range_start > units))::bigint
  from (select floor(units::numeric / h.chunk_width) * h.chunk_width) b(low)
$$;
comment on function tidemill._chunk_bounds is 'Where the chunk that holds a time begins and ends; widths are counted from 1970, or 0.';

create or replace function tidemill._bound_literal(time_type regtype, units bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case
    when units < l.least then 'minvalue'
    when units > l.greatest then l.behind
    else format('%L::%s', tidemill._time_text(time_type, units), time_type) end
  from (values
    ('int2'::regtype, -32768::bigint, 32767::bigint, 'maxvalue'),
    ('int4', -2147483648, 2147483647, 'maxvalue'),
    ('int8', -9223372036854775808, 9223372036854775807, null),
    ('date', -210866803200000000, 9223371331200000000 - 1, quote_literal('infinity')),
    ('timestamp', -210866803200000000, 9223371331200000000 - 1, quote_literal('infinity')),
    ('timestamptz', -210866803200000000, 9223371331200000000 - 1, quote_literal('infinity'))) l(of_type, least, greatest, behind)
  where l.of_type = time_type
$$;
comment on function tidemill._bound_literal is 'A bound of a partition as SQL; behind the range of the type, MINVALUE, MAXVALUE or infinity.';

create or replace function tidemill._move_rows(source regclass, target regclass, columns text, within text) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  triggers text;
  has_rows boolean;
  gone bigint;
  moved bigint;
begin
  execute format('select exists (select from %s where %s)', source, within) into has_rows;
  if not has_rows then
    return 0;
  end if;
  perform tidemill._check_deletable(source);
  triggers := tidemill._without_triggers(source);
  execute format(
    'with gone as (delete from %s where %s returning %s),'
    ' kept as (insert into %s (%s) overriding system value select %3$s from gone returning 1)'
    ' select (select pg_catalog.count(*) from gone), (select pg_catalog.count(*) from kept)',
    source, within, columns, target, columns) into gone, moved;
  if gone <> moved then
    raise exception using errcode = 'XX000', message = format('%s rows left "%s", but %s arrived', gone, source, moved);
  end if;
  execute triggers;
  return moved;
end
$$;
comment on function tidemill._move_rows is 'Moves rows into a table that is no partition yet, without users'' triggers; how many.';

create or replace function tidemill._stored_columns(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
  where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
$$;
comment on function tidemill._stored_columns is 'The columns that are not generated, as SQL.';

create or replace function tidemill._storage_options(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select string_agg(format('%s%I = %L', o.prefix, split_part(o.option, '=', 1), substr(o.option, strpos(o.option, '=') + 1)), ', ')
  from (select '' as prefix, unnest(r.reloptions) as option from pg_class r where r.oid = relation
        union all
        select 'toast.', unnest(t.reloptions) from pg_class r join pg_class t on t.oid = r.reltoastrelid where r.oid = relation) o
$$;
comment on function tidemill._storage_options is 'The storage parameters of a table, as in WITH; NULL if there are none.';

create or replace function tidemill._copy_replica_identity(source regclass, target regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  identity constant text := (
    select case r.relreplident when 'f' then 'full' when 'n' then 'nothing' end from pg_class r where r.oid = source);
begin
  if identity is not null then
    execute format('alter table %s replica identity %s', target, identity);
  end if;
end
$$;

create or replace function tidemill._check_deletable(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  told text;
begin
  select string_agg(distinct t.what, ', ') into told
    from (
      -- Each partition has a constraint of its own, whose name says little.
      select format('a foreign key of %s', f.conrelid::regclass) from pg_constraint f
        where f.contype = 'f' and f.confrelid = relation
      union all
      select format('the publication %I', p.pubname) from pg_publication p
        where p.puballtables or exists (
          select from pg_partition_ancestors(relation) a join pg_class k on k.oid = a.relid
          where exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = k.oid)
            or exists (select from pg_publication_namespace n where n.pnpubid = p.oid and n.pnnspid = k.relnamespace))
    ) t(what);
  if told is not null then
    raise exception using errcode = '0A000',
      message = format('rows of "%s" cannot be moved, since it would look like a DELETE to %s', relation, told),
      hint = 'Drop what is named.';
  end if;
end
$$;
comment on function tidemill._check_deletable is
  'Raises 0A000 if rows cannot leave a partition without anybody taking them for deleted.';

create or replace function tidemill._forget_gone_chunks(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  c tidemill._chunks;
  has_segments boolean := false;
begin
  for c in
    select k.* from tidemill._chunks k
    where k.hypertable_id = h.id
      and not exists (select from pg_inherits i where i.inhrelid = k.relation and i.inhparent = h.rows_table)
  loop
    if exists (select from pg_class r where r.oid = c.relation) and h.segments is not null then
      execute format('select exists (select from %s where _chunk = %s)', h.segments, c.number) into has_segments;
      if has_segments then
        raise exception using errcode = '55000', message = format('chunk "%s" was detached, and has packed rows', c.relation),
          hint = format('Attach it again, and decompress it first: ALTER TABLE %s ATTACH PARTITION %s ...', h.rows_table, c.relation);
      end if;
    elsif h.segments is not null then
      execute format('delete from %s where _chunk = %s', h.segments, c.number);
    end if;
    c.relation := null;
    insert into tidemill._hypertable_requests (c, verb) values (c, 'forget c');
  end loop;
end
$$;
comment on function tidemill._forget_gone_chunks is
  'Forgets chunks that were dropped or detached by hand. Error: 55000 a detached one has packed rows.';
