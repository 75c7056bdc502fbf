create or replace function tidemill._pack(h tidemill._hypertables, c tidemill._chunks) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
-- Some columns are packed as text, and are read under any settings.
set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 1
as $$
declare
  -- By their text: values that are equal may look different, as 1.0 and 1.00 do. OFFSET lets it be made once.
  images constant text := 'select count(*) as rows, sum(hashtextextended(i.image, 0)::numeric) as images,'
    ' max(octet_length(i.image)) as largest from (select (r.*)::text as image from %s r offset 0) i';
  before record;
  after record;
begin
  perform tidemill._check_columns(h);
  execute format(images, 'only ' || c.relation) into before;
  execute format('with gone as (delete from only %s returning *), %s %s', c.relation,
                 tidemill._packing(h, c, 'gone', tidemill._place(c), tidemill._rows_of_a_segment(before.largest)),
                 format(images, '(' || tidemill._decoded(h, 'made') || ')')) into after;
  if after is distinct from before then
    raise exception using errcode = 'data_corrupted',
      message = format('the rows of chunk "%s" would not come back as they were, so they stay as they are', c.relation),
      hint = 'This is a fault of Tidemill: please report the types of its columns.';
  end if;
  return before.rows;
end
$$;
comment on function tidemill._pack is
$$Packs the rows that stand in a chunk's partition, and returns their number. Proves that they come back as they were.

Error: XX001 they would not.$$;

create or replace function tidemill._rows_of_a_segment(largest bigint) returns integer
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  -- An array has less than 1 GB.
  select greatest(1, least(1000, 268435456 / greatest(coalesce(largest, 1), 1)))::integer
$$;
comment on function tidemill._rows_of_a_segment is 'How many rows at most are packed into one, where the largest has so many bytes as text.';

create or replace function tidemill._packing(
  h tidemill._hypertables, c tidemill._chunks, source text, place text, rows integer default 1000) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  k record;
  -- Of each step of the statement the part for all columns. Values and what is known of them are numbered.
  keys text := '';
  parts text := '';
  groups text := '';
  at text;
  numbered text := '';
  gathered text := '';
  chosen text := '';
  names text := '';
  packed text := '';
begin
  for k in
    select a.*, row_number() over ()::text as i, n.digits from tidemill._columns(h.rows_table) a,
      tidemill._digits(c.relation, a.name, a.plain_type, a.family) n(digits)
  loop
    if k.name = any(h.segmentby) then
      -- Equal values may look different.
      keys := keys || format('s%s, t%1$s, ', k.i);
      parts := parts || format('g.%1$I, g.%1$I::text, ', k.name);
      groups := groups || format('s%s, ', k.i);
      numbered := numbered || format('g.%2$I as s%1$s, g.%2$I::text as t%1$s, ', k.i, k.name);
      names := names || format(', %I', k.name);
      packed := packed || format(', s%s', k.i);
      continue;
    end if;
    at := case when k.name = h.time_column then 'v' || k.i else at end;
    numbered := numbered || format('g.%2$I%3$s as v%1$s, ', k.i, k.name, case k.family when 'text' then '::text' end);
    gathered := gathered || format('array_agg(v%1$s) as v%1$s, count(v%1$s) as there%1$s, ', k.i);
    if k.family in ('word', 'text') then
      chosen := chosen || format(', tidemill._words(v%s, _rows) as words%1$s', k.i);
      names := names || format(', %I, %I, %I, %I', k.name, tidemill._part(k.name, 'words'), tidemill._part(k.name, 'word'),
                               tidemill._part(k.name, 'tiny'));
      packed := packed || format(
        ', case when words%1$s is null then v%1$s end, words%1$s,'
        ' case when cardinality(words%1$s) = 1 and there%1$s = _rows then 1 end,'
        ' case when cardinality(words%1$s) > 1 or cardinality(words%1$s) = 1 and there%1$s < _rows'
        ' then (select array_agg(array_position(words%1$s, x)::"char") from unnest(v%1$s) x) end', k.i);
    elsif k.family in ('integer', 'time', 'float', 'numeric') and k.digits is not null then
      numbered := numbered || format('%2$s as u%1$s, ', k.i, tidemill._as_number(k.plain_type, format('g.%I', k.name), k.digits));
      gathered := gathered || format('array_agg(u%1$s) as u%1$s, min(u%1$s) as low%1$s, max(u%1$s) as high%1$s, count(u%1$s) as kept%1$s, ', k.i);
      chosen := chosen || format(', tidemill._number_encoding(u%1$s, low%1$s, high%1$s, there%1$s, kept%1$s, _rows, %2$L) as how%1$s',
                                 k.i, k.plain_type = 'smallint');
      names := names || format(', %I, %I, %I, %I, %I', k.name, tidemill._part(k.name, 'from'), tidemill._part(k.name, 'step'),
                               tidemill._part(k.name, 'tiny'), tidemill._part(k.name, 'short'));
      packed := packed || format(
        ', case how%1$s when ''plain'' then v%1$s end,'
        ' case how%1$s when ''none'' then 0 when ''step'' then u%1$s[1] when ''tiny'' then low%1$s when ''short'' then low%1$s + 32768 end,'
        ' case how%1$s when ''step'' then coalesce(u%1$s[2] - u%1$s[1], 0) end,'
        ' case how%1$s when ''tiny'' then (select array_agg((x - low%1$s)::integer::"char") from unnest(u%1$s) x) end,'
        ' case how%1$s when ''short'' then (select array_agg((x - low%1$s - 32768)::smallint) from unnest(u%1$s) x) end', k.i);
      if k.family in ('float', 'numeric') then
        names := names || format(', %I', tidemill._part(k.name, 'unit'));
        packed := packed || format(', case when how%s <> ''plain'' then %s end', k.i,
          case k.family when 'float' then format('%L::double precision', ('1e' || k.digits)::double precision)
                        else format('%L::numeric', ('1e-' || k.digits)::numeric) end);
      end if;
    else
      names := names || format(', %I', k.name);
      packed := packed || format(', v%s', k.i);
    end if;
  end loop;
  return format($packing$
    numbered as (
      select %1$s row_number() over (%2$s order by %3$s) - 1 as _row from %4$s g
    ),
    gathered as (
      select %5$s %6$s min(%7$s) as _first, max(%7$s) as _last, count(*)::integer as _rows
      from numbered group by %8$s _row / %15$s
    ),
    chosen as materialized (select *%9$s from gathered),
    made as (
      insert into %10$s (_place, _chunk, _first, _last, _rows%11$s)
        select %12$L, %13$s, _first, _last, _rows%14$s from chosen
        returning *
    )$packing$,
    numbered, 'partition by ' || nullif(trim(trailing ', ' from parts), ''),
    array_to_string(h.orderby || quote_ident(h.time_column), ', '), source,
    groups, gathered, at, keys, chosen, h.segments, names, place, c.number, packed, rows);
end
$$;
comment on function tidemill._packing is 'The parts of a statement that pack the rows of a source into segments, which they call "made".';

create or replace function tidemill._number_encoding(
  numbers bigint[], low bigint, high bigint, there bigint, kept bigint, rows integer, is_short boolean) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case
    when kept < there or low < -4611686018427387904 or high > 4611686018427387904 then 'plain'
    when there = 0 then 'none'
    when there = rows and numbers[rows] - numbers[1] = s.step * (rows - 1)
      and (select bool_and(x = numbers[1] + s.step * (i - 1)) from unnest(numbers) with ordinality n(x, i)) then 'step'
    when high - low < 128 then 'tiny'
    when high - low < 65536 and not is_short then 'short'
    else 'plain' end
  from (select case when numbers[2] - numbers[1] between -1e15 and 1e15 then numbers[2] - numbers[1]
                    when rows = 1 then 0 end) s(step)
$$;
comment on function tidemill._number_encoding is 'How the numbers of a segment are packed.';

create or replace function tidemill._words(given anyarray, rows integer) returns anyarray
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select case when cardinality(w.words) < 128 and (cardinality(w.words) <= 1 or 2 * cardinality(w.words) <= rows)
              and pg_column_size(w.words) <= 1000 then w.words end
  from (select array(select distinct x from unnest(given) x where x is not null limit 128)) w(words)
$$;
comment on function tidemill._words is 'The different values of a segment; NULL if these are many or large.';

create or replace function tidemill._digits(relation regclass, column_name name, type text, family text) returns integer
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  sample constant text := format('(select s.%1$I as v from only %2$s s tablesample system (%3$s) where s.%1$I is not null limit 1000) x',
    column_name, relation, least(100, 100 * 30 * 8192.0 / greatest(pg_relation_size(relation), 1)));
  fits bigint[];
  digits integer;
begin
  case family
    when 'integer', 'time' then
      return 0;
    when 'numeric' then
      execute format('select mode() within group (order by scale(x.v)) from %s where scale(x.v) <= 15', sample) into digits;
    when 'float' then
      execute format('select array[%s] from %s', (
          select string_agg(format('count(%s)', tidemill._as_number(type, 'x.v', d)), ', ' order by d) || ', count(*)'
          from generate_series(0, 8) d), sample) into fits;
      select d.place - 1 into digits from unnest(fits[:9]) with ordinality d(fit, place)
        -- One that is in none of the segments' ranges, as NaN, keeps only its own segment from it.
        where d.fit >= 0.1 * fits[10] and d.fit >= 0.99 * (select max(m) from unnest(fits[:9]) m)
        order by d.place limit 1;
    else
  end case;
  return digits;
end
$$;
comment on function tidemill._digits is
  'How many decimal places nearly all of a chunk''s values have, by a sample; NULL if they are not counted.';
