-- How the values of a column stand in a segment. What fits best is chosen for each column of each segment:
--
--   step        a number that grows evenly, or does not change: the first value, and the step
--   tiny, short numbers less a base, in one byte or two
--   words       few different values: a list of them, and for each row its place there, in one byte
--   plain       an array of the values
--
-- A number is an integer, a time in microseconds, or a decimal fraction in units of its last digit. What stands for the
-- values is in columns beside the column's own; that one has the plain array, or else NULL. PostgreSQL compresses arrays.

create or replace function tidemill._part(column_name name, part text) returns name
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  -- A name has 63 bytes at most.
  select (case when octet_length(column_name::text) <= 56 then column_name::text else substr(md5(column_name), 1, 24) end
          || '~' || part)::name
$$;
comment on function tidemill._part is 'The column of segments that has a part of what stands for a column.';

create or replace function tidemill._segment_columns(
  column_name name, type text, collate_as text, family text, lead text default '') returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select lead || format('%I %s[]%s', column_name, case family when 'text' then 'text' else type end, collate_as)
    || coalesce((
      select string_agg(format(', %s%I %s', lead, tidemill._part(column_name, p.part), p.of_type), '' order by p.place)
      from (values
        (1, '{integer,time,float,numeric}'::text[], 'from', 'bigint'),
        (2, '{integer,time,float,numeric}', 'step', 'bigint'),
        (3, '{float}', 'unit', 'double precision'),
        (4, '{numeric}', 'unit', 'numeric'),
        (5, '{integer,time,float,numeric,word,text}', 'tiny', '"char"[]'),
        (6, '{integer,time,float,numeric}', 'short', 'smallint[]'),
        (7, '{word}', 'words', type || '[]' || collate_as),
        (8, '{text}', 'words', 'text[]'),
        (9, '{word,text}', 'word', 'smallint')
      ) p(place, families, part, of_type)
      where family = any(p.families)), '')
$$;
comment on function tidemill._segment_columns is 'The columns of segments for a column, as in CREATE TABLE; or after a lead as in ALTER TABLE.';

create or replace function tidemill._keep_words_in_line(segments regclass, column_name name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- A word is looked up for each row, so they are the last to be compressed.
  execute format('alter table %s alter %I set storage main', segments, tidemill._part(column_name, 'words'));
end
$$;

create or replace function tidemill._decoded(h tidemill._hypertables, source text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Outside of the set-returning functions the planner drops what a query does not use.
  select format('select %s from (select %s, generate_series(0, _rows - 1) as _row from %s) _packed',
    string_agg(d.outside || format(' as %I', c.name), ', '), string_agg(d.inside, ', '), source)
  from tidemill._columns(h.rows_table) c,
    tidemill._decoded_column(c.name, c.plain_type, c.collate_as, case when c.name = any(h.segmentby) then 'key' else c.family end) d
$$;
comment on function tidemill._decoded is 'A query for the rows that are packed in a source, which has the columns of the segments.';

create or replace function tidemill._decoded_column(
  column_name name, type text, collate_as text, family text, out outside text, out inside text)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select
    case
      when family in ('key', 'plain') then format('_packed.%I', column_name)
      when family = 'word' then d.word
      when family = 'text' then format('(case when strpos(%1$s, ''NULL'') > 0 then tidemill._as_array(%1$s, null::%2$s) else (%1$s)::%2$s end)::%2$s%3$s',
        d.word, type, collate_as)
      else format('case when _packed.%I is null then _packed.%I else %s end', p."from", column_name, case type
        when 'date' then format('''1970-01-01''::date + (%s)::integer', d.number)
        -- Without a zone, since only what is immutable lets a view leave out what a query does not ask for.
        when 'timestamp with time zone'
          then format('timezone(interval ''0'', ''1970-01-01 00:00''::timestamp + (%s) * interval ''1 us'')', d.number)
        when 'timestamp without time zone' then format('''1970-01-01 00:00''::timestamp + (%s) * interval ''1 us''', d.number)
        when 'double precision' then format('(%s)::double precision / _packed.%I', d.number, p.unit)
        when 'real' then format('((%s)::double precision / _packed.%I)::real', d.number, p.unit)
        when 'numeric' then format('(%s)::numeric * _packed.%I', d.number, p.unit)
        else format('(%s)::%s', d.number, type) end) end,
    case
      when family = 'key' then format('%I', column_name)
      when family = 'plain' then format('unnest(%1$I) as %1$I', column_name)
      when family in ('word', 'text')
        then format('unnest(%1$I) as %1$I, unnest(%2$I) as %2$I, %3$I, %4$I', column_name, p.tiny, p.words, p.word)
      else format('unnest(%1$I) as %1$I, unnest(%2$I) as %2$I, unnest(%3$I) as %3$I, %4$I, %5$I', column_name, p.tiny, p.short,
                  p."from", p.step)
        || case when family in ('float', 'numeric') then format(', %I', p.unit) else '' end end
  from
    (select tidemill._part(column_name, 'from') as "from", tidemill._part(column_name, 'step') as step,
            tidemill._part(column_name, 'unit') as unit, tidemill._part(column_name, 'tiny') as tiny,
            tidemill._part(column_name, 'short') as short, tidemill._part(column_name, 'words') as words,
            tidemill._part(column_name, 'word') as word) p,
    lateral (select
      format('_packed.%I + coalesce(_packed.%I::integer, _packed.%I, _packed.%I * _row)', p."from", p.tiny, p.short, p.step) as number,
      format('case when _packed.%1$I is null then _packed.%2$I else _packed.%1$I[coalesce(_packed.%3$I::integer, _packed.%4$I)] end',
             p.words, column_name, p.tiny, p.word) as word) d
$$;
comment on function tidemill._decoded_column is
  'SQL for a column''s value outside and inside of the query that has a row for each packed one.';

-- The setting array_nulls decides whether NULL is a word. Everybody who reads a view may come by.
create or replace function tidemill._as_array(value text, given anyarray) returns anyarray
language plpgsql immutable set search_path = pg_catalog, pg_temp set array_nulls = on
as $$
begin
  given := value;
  return given;
end
$$;
comment on function tidemill._as_array is 'The array that a text stands for, of the type of the one that is given.';

create or replace function tidemill._as_number(type text, expression text, digits integer) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  -- A float is counted only if it comes back the same, and as the same zero; a numeric with the same scale.
  select case
    when type in ('smallint', 'integer', 'bigint') then format('%s::bigint', expression)
    when type = 'date' then format('case when isfinite(%1$s) then (%1$s - ''1970-01-01''::date)::bigint end', expression)
    when type like 'timestamp%' then format(
      'case when isfinite(%1$s) and %1$s < ''200000-01-01''::%2$s'
      ' and ''1970-01-01 00:00+00''::%2$s + (date_part(''epoch'', %1$s) * 1000000)::bigint * interval ''1 us'' = %1$s'
      ' then (date_part(''epoch'', %1$s) * 1000000)::bigint end', expression, type)
    when type in ('real', 'double precision') then format(
      'case when abs(%1$s) < 1e15::double precision / %2$s and ((%1$s * %2$s)::bigint::double precision / %2$s)::%3$s = %1$s'
      ' and (%1$s <> 0 or %1$s::text = ''0'') then (%1$s * %2$s)::bigint end',
      expression, format('%L::double precision', ('1e' || digits)::double precision), type)
    when type = 'numeric' then format(
      'case when scale(%1$s) = %2$s and abs(%1$s) < %4$L::numeric then (%1$s * %3$L::numeric)::bigint end',
      expression, digits, ('1e' || digits)::numeric, ('1e' || 18 - digits)::numeric) end
$$;
comment on function tidemill._as_number is
  'SQL that counts a value in units of its last digit; NULL if it would not come back as it was.';

create or replace function tidemill._holds(h tidemill._hypertables, segment text, at text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format(
    'case when %1$s.%2$I is null then %6$s = any(%1$s.%3$I)'
    ' when %1$s.%4$I is not null then %1$s.%4$I = 0 or (%7$s - %1$s.%2$I) %% %1$s.%4$I = 0'
    ' when %1$s.%5$I is not null then case when %7$s - %1$s.%2$I between 0 and 127'
    ' then (%7$s - %1$s.%2$I)::integer::"char" = any(%1$s.%5$I) end'
    ' when %7$s - %1$s.%2$I between -32768 and 32767 then (%7$s - %1$s.%2$I)::smallint = any(%1$s.%8$I) end',
    segment, tidemill._part(h.time_column, 'from'), h.time_column, tidemill._part(h.time_column, 'step'),
    tidemill._part(h.time_column, 'tiny'), at,
    '(' || tidemill._as_number(format_type(h.time_type, null), at, 0) || ')', tidemill._part(h.time_column, 'short'))
$$;
comment on function tidemill._holds is 'A condition: whether a segment, in whose bounds this time is, has a row of it.';
