create or replace view tidemill.hypertables as
select
  h.id,
  s.nspname as hypertable_schema,
  r.relname as hypertable_name,
  pg_get_userbyid(r.relowner) as owner,
  (select count(*) from tidemill._chunks c where c.hypertable_id = h.id) as num_chunks,
  h.segments is not null as compression_enabled,
  h.time_column as primary_dimension,
  h.time_type as primary_dimension_type,
  case when h.time_type not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
    (h.chunk_width / 86400000000) * interval '1 day' + (h.chunk_width % 86400000000) * interval '1 microsecond'
  end as time_interval,
  case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then h.chunk_width end as integer_interval,
  h.chunks_schema,
  h.created_at,
  nullif(h.tablespaces, '{}') as tablespaces,
  p.nspname as rows_schema,
  o.relname as rows_table
from tidemill._hypertables h
-- Its view may have been dropped by hand.
join pg_class r on r.oid = coalesce((select v.oid from pg_class v where v.oid = h.view and h.is_transparent), h.rows_table)
join pg_namespace s on s.oid = r.relnamespace
join pg_class o on o.oid = h.rows_table
join pg_namespace p on p.oid = o.relnamespace;
comment on view tidemill.hypertables is 'Tables that create_hypertable cut by time.';
comment on column tidemill.hypertables.num_chunks is 'Without the default partition, which has the rows that have no chunk yet.';
comment on column tidemill.hypertables.compression_enabled is 'Whether its chunks can be packed.';
comment on column tidemill.hypertables.primary_dimension is 'The column of the time.';
comment on column tidemill.hypertables.time_interval is 'How wide the next chunks are; NULL where the time is a number.';
comment on column tidemill.hypertables.integer_interval is 'How wide the next chunks are; NULL unless the time is a number.';
comment on column tidemill.hypertables.chunks_schema is 'The schema of its chunks and of its default partition.';
comment on column tidemill.hypertables.tablespaces is 'Where new chunks go, in turn; NULL: where its default partition is.';
comment on column tidemill.hypertables.rows_schema is 'The schema of the table of its rows; another than its own where a view shows both.';
comment on column tidemill.hypertables.rows_table is 'The partitioned table of its rows, where its constraints, indexes and triggers are.';

create or replace view tidemill.chunks as
select
  s.nspname as hypertable_schema,
  r.relname as hypertable_name,
  n.nspname as chunk_schema,
  k.relname as chunk_name,
  c.hypertable_id,
  c.number,
  h.time_column as primary_dimension,
  h.time_type as primary_dimension_type,
  case when not i.counted then
    case
      when c.range_start < -210866803200000000 then '-infinity'::timestamptz
      else ('1970-01-01'::timestamp + (c.range_start / 86400000000) * interval '1 day'
        + (c.range_start % 86400000000) * interval '1 microsecond') at time zone 'UTC'
    end
  end as range_start,
  case when not i.counted then
    case
      when c.range_end >= 9223371331200000000 then 'infinity'::timestamptz
      else ('1970-01-01'::timestamp + (c.range_end / 86400000000) * interval '1 day'
        + (c.range_end % 86400000000) * interval '1 microsecond') at time zone 'UTC'
    end
  end as range_end,
  case when i.counted then c.range_start end as range_start_integer,
  case when i.counted then c.range_end end as range_end_integer,
  c.is_compressed,
  t.spcname as chunk_tablespace,
  c.created_at as chunk_creation_time
from tidemill._chunks c
join tidemill._hypertables h on h.id = c.hypertable_id
-- Its view may have been dropped by hand.
join pg_class r on r.oid = coalesce((select v.oid from pg_class v where v.oid = h.view and h.is_transparent), h.rows_table)
join pg_namespace s on s.oid = r.relnamespace
join pg_class k on k.oid = c.relation
join pg_namespace n on n.oid = k.relnamespace
left join pg_tablespace t on t.oid = k.reltablespace
cross join lateral (select h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) i(counted);
comment on view tidemill.chunks is 'The chunks of all hypertables, without the default partitions.';
comment on column tidemill.chunks.number is 'Its number in its hypertable, which its name has.';
comment on column tidemill.chunks.range_start is
  'Its first time; NULL where the time is a number. Of a clock without a zone: as if that were UTC.';
comment on column tidemill.chunks.range_end is 'The first time behind it.';
comment on column tidemill.chunks.range_start_integer is 'Its first number; NULL unless the time is one.';
comment on column tidemill.chunks.is_compressed is 'Whether its rows are packed; those that came later stand beside them.';
comment on column tidemill.chunks.chunk_tablespace is 'NULL: the database''s.';

create or replace view tidemill.compression_settings as
select
  s.nspname as hypertable_schema,
  r.relname as hypertable_name,
  c.attname,
  c.segmentby_column_index::smallint,
  c.orderby_column_index::smallint,
  c.orderby_asc,
  c.orderby_nullsfirst
from tidemill._hypertables h
-- Its view may have been dropped by hand.
join pg_class r on r.oid = coalesce((select v.oid from pg_class v where v.oid = h.view and h.is_transparent), h.rows_table)
join pg_namespace s on s.oid = r.relnamespace
cross join lateral (
  select b.attname, b.n as segmentby_column_index, null::bigint as orderby_column_index, null::boolean as orderby_asc,
      null::boolean as orderby_nullsfirst
    from unnest(h.segmentby) with ordinality b(attname, n)
  union all
  (select distinct on (a.attname) a.attname, null, o.n, a.is_asc, o.item ~ ' NULLS FIRST$' or o.item !~ ' NULLS LAST$' and not a.is_asc
    -- Behind all others comes the time.
    from unnest(h.orderby || quote_ident(h.time_column)) with ordinality o(item, n)
    cross join lateral (
      select (parse_ident(regexp_replace(o.item, '( ASC| DESC)?( NULLS (FIRST|LAST))?$', '')))[1]::name,
             o.item !~ ' DESC( NULLS (FIRST|LAST))?$') a(attname, is_asc)
    order by a.attname, o.n)
) c
where h.segments is not null;
comment on view tidemill.compression_settings is
  'By which columns the rows of hypertables are packed: a row for each column of segmentby, and for each by which they are ordered.';
comment on column tidemill.compression_settings.segmentby_column_index is 'Its place in segmentby; NULL if it is not in it.';
comment on column tidemill.compression_settings.orderby_column_index is 'Its place in the order of packed rows; NULL if it is not in it.';
