create or replace function tidemill.compression_plan(
  hypertable regclass, segmentby text default null, orderby text default null
) returns table (column_name name, data_type text, encoding text, bytes_before bigint, bytes_after bigint, ratio numeric)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  stored constant tidemill._hypertables := tidemill._hypertable(hypertable);
  h tidemill._hypertables := stored;
  c tidemill._chunks;
  source record;
  sampled bigint;
  sample constant text := tidemill._free_temp_name('sample');
  segments constant text := tidemill._free_temp_name('segments');
begin
  perform tidemill._check_owner(h.rows_table);
  h.segmentby := case when segmentby is null then h.segmentby else tidemill._segmentby(h, segmentby) end;
  h.orderby := case when orderby is null then h.orderby else tidemill._orderby(h, orderby) end;
  select * into source from tidemill._plan_source(stored) p;
  if source.relation is null then
    return;
  end if;
  execute format('create temp table %s on commit drop as select * from %s p order by %s limit 100000', sample, source.rows,
    array_to_string(array(select quote_ident(s) from unnest(h.segmentby) s) || h.orderby || quote_ident(h.time_column), ', '));
  get diagnostics sampled = row_count;
  execute format('create temp table %s (%s) on commit drop', segments, tidemill._columns_of_segments(h));
  h.segments := segments::regclass;
  c.relation := sample::regclass;
  c.number := 0;
  execute 'with ' || tidemill._packing(h, c, sample, '') || ' select from made';
  return query execute (
    select string_agg(tidemill._planned(k.name, k.type, case when k.name = any(h.segmentby) then 'key' else k.family end, sample, segments), ' union all ')
    from tidemill._columns(h.rows_table) k);
  -- With what stands beside the values: headers and indexes, of both.
  return query execute format(
    'select null::name, null::text, null::text, w.before, w.after, round(w.before / nullif(w.after, 0)::numeric, 1)'
    ' from (select $1, pg_total_relation_size($2) + count(*) * 120 from %s) w(before, after)', segments)
    using source.bytes * sampled / source.count, h.segments;
  execute format('drop table %s, %s', sample, segments);
end
$$;
comment on function tidemill.compression_plan is
$$Packs a sample of a hypertable, and tells for each column how it would stand and how small it would be. Changes nothing.

hypertable  the hypertable; compression need not be enabled
segmentby   as of enable_compression; default what is in force
orderby     likewise

Returns a row for each column, with its encodings in the sample (see docs/explanation/hypertables.md), its bytes as stored
before and after, and their ratio; and a last one, whose column is NULL, for the whole with headers and indexes. The sample
is the first 100,000 rows, by segmentby, of the largest partition that has rows, or of a packed chunk; nothing if there is none.
Errors: TS001 no hypertable, 42501 not its owner, and those of segmentby and orderby.$$;

create or replace function tidemill._plan_source(
  h tidemill._hypertables, out relation regclass, out rows text, out count bigint, out bytes bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  number integer;
begin
  -- The default partition, too: perhaps nobody has made chunks yet.
  for relation in
    select i.inhrelid from pg_inherits i where i.inhparent = h.rows_table order by pg_relation_size(i.inhrelid) desc
  loop
    execute format('select count(*) from only %s', relation) into count;
    if count > 0 then
      rows := 'only ' || relation;
      bytes := pg_total_relation_size(relation);
      return;
    end if;
  end loop;
  relation := null;
  select c.relation, c.number, c.packed_rows, c.bytes_before_heap + c.bytes_before_index + c.bytes_before_toast
    into relation, number, count, bytes
    from tidemill._chunks c
    where c.hypertable_id = h.id and c.is_compressed and c.packed_rows > 0 order by c.packed_rows desc limit 1;
  rows := format('(%s)', tidemill._decoded(h, format('%s where _chunk = %s', h.segments, number)));
end
$$;
comment on function tidemill._plan_source is
  'Where the sample of a plan comes from, as SQL, with the number of its rows and what they take, indexes included; NULL if there are none.';

create or replace function tidemill._free_temp_name(of_what text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- The caller may have temporary tables of any name.
  select 'pg_temp.' || n.name
  from generate_series(0, 1000) i cross join lateral (select format('_tidemill_plan_%s_%s_%s', of_what, pg_backend_pid(), i)) n(name)
  where to_regclass('pg_temp.' || n.name) is null and to_regtype('pg_temp.' || n.name) is null
  order by i limit 1
$$;
comment on function tidemill._free_temp_name is 'A name for a temporary table, as SQL, that is free in this session.';

create or replace function tidemill._planned(column_name name, type text, family text, sample text, segments text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format(
    'select %1$L::name, %2$L::text, (select string_agg(e.how || case when e.share < 1 then format('' %%s %%%%'', round(100 * e.share)) else '''' end, '', '''
    ' order by e.share desc) from (select %3$s as how, sum(s._rows) / sum(sum(s._rows)) over () as share from %7$s s group by 1) e),'
    ' b.before, b.after, round(b.before / nullif(b.after, 0)::numeric, 1)'
    ' from (select (select sum(pg_column_size(t.%4$I)) from %6$s t), sum(%5$s)::bigint from %7$s s) b(before, after)',
    column_name, type,
    case
      when family = 'key' then '''key'''
      when family = 'plain' then '''plain'''
      when family in ('word', 'text') then format('case when s.%1$I is null then ''plain'' when s.%2$I is null then ''constant'' else ''words'' end', p.words, p.tiny)
      else format(
        'case when s.%1$I is null then ''plain'' when s.%2$I = 0 then ''constant'' when s.%2$I is not null then ''step'''
        ' when s.%3$I is not null then ''tiny'' when s.%4$I is not null then ''short'' else ''constant'' end', p."from", p.step, p.tiny, p.short) end,
    column_name,
    case when family in ('key', 'plain') then format('coalesce(pg_column_size(s.%I), 0)', column_name)
      when family in ('word', 'text') then format('coalesce(pg_column_size(s.%I), 0) + coalesce(pg_column_size(s.%I), 0) + coalesce(pg_column_size(s.%I), 0)',
        column_name, p.words, p.tiny)
      else format('coalesce(pg_column_size(s.%I), 0) + coalesce(pg_column_size(s.%I), 0) + coalesce(pg_column_size(s.%I), 0) + 16',
        column_name, p.tiny, p.short) end,
    sample, segments)
  from (select tidemill._part(column_name, 'from') as "from", tidemill._part(column_name, 'step') as step,
               tidemill._part(column_name, 'tiny') as tiny, tidemill._part(column_name, 'short') as short,
               tidemill._part(column_name, 'words') as words) p
$$;
