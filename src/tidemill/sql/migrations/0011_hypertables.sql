-- Hypertables: tables that are partitioned by time, their chunks, and where their packed rows stand.
-- Relations are kept as regclass, so that a dump has their names.

create table tidemill._hypertables (
  id integer generated always as identity primary key,
  rows_table regclass not null unique,
  view regclass unique,
  time_column name not null,
  time_type regtype not null,
  chunk_width bigint not null check (chunk_width > 0),
  chunks_schema name not null,
  segments regclass,
  segmentby name[] not null default '{}',
  orderby text[] not null default '{}',
  is_transparent boolean not null default true,
  shown_schema name,
  is_updatable boolean not null default false,
  arms bigint[] not null default '{}',
  created_at timestamptz not null default now(),
  tablespaces name[] not null default '{}'
);
comment on table tidemill._hypertables is 'Hypertables. Private: read the view tidemill.hypertables.';
comment on column tidemill._hypertables.rows_table is 'The partitioned table, which has the rows that are not packed.';
comment on column tidemill._hypertables.view is 'The view with the user''s name over rows and segments; NULL while the name is the table''s.';
comment on column tidemill._hypertables.chunk_width is 'Of the next chunks: microseconds, or whole numbers where the time is one.';
comment on column tidemill._hypertables.orderby is 'As SQL; behind it comes the time.';
comment on column tidemill._hypertables.shown_schema is 'Where the view is made; NULL before compression is enabled.';
comment on column tidemill._hypertables.is_transparent is 'Whether the user''s name is the view''s; else it is the table''s.';
comment on column tidemill._hypertables.arms is 'Where the view cuts the packed rows, as range_start of chunks; the newest first.';
comment on column tidemill._hypertables.segments is 'The table of packed rows; NULL before compression is enabled.';
comment on column tidemill._hypertables.tablespaces is 'Where new chunks go, in turn; none: to the tablespace of the default partition.';

create table tidemill._chunks (
  hypertable_id integer not null references tidemill._hypertables on delete cascade,
  number integer not null,
  relation regclass not null unique,
  range_start bigint not null,
  range_end bigint not null check (range_end > range_start),
  is_compressed boolean not null default false,
  created_at timestamptz not null default now(),
  packed_rows bigint,
  bytes_before_heap bigint,
  bytes_before_index bigint,
  bytes_before_toast bigint,
  emptied_by xid8,
  primary key (hypertable_id, number),
  unique (hypertable_id, range_start)
);
comment on table tidemill._chunks is 'Chunks of hypertables, without the default partition. Private: read the view tidemill.chunks.';
comment on column tidemill._chunks.range_start is 'Microseconds since 1970 (on a clock without a zone: by that clock), or the whole number that is the time.';
comment on column tidemill._chunks.range_end is 'As range_start; the first time that is behind the chunk.';
comment on column tidemill._chunks.packed_rows is 'How many rows its segments had when it was last compressed.';
comment on column tidemill._chunks.bytes_before_heap is
  'What those rows took before they were packed; the next columns likewise. Of what was packed later, in proportion to the rows.';
comment on column tidemill._chunks.emptied_by is 'The transaction that packed its rows; NULL once their space was given back.';

create type tidemill.dimension_info as (column_name name, chunk_width text, chunk_width_type regtype);
comment on type tidemill.dimension_info is 'How a hypertable is cut into chunks: made by tidemill.by_range, read by tidemill.create_hypertable.';

-- What the aggregates tidemill.first and tidemill.last remember: the value and the time of one row.

create type tidemill._timed_bool as (value boolean, at timestamptz);
create type tidemill._timed_int2 as (value smallint, at timestamptz);
create type tidemill._timed_int4 as (value integer, at timestamptz);
create type tidemill._timed_int8 as (value bigint, at timestamptz);
create type tidemill._timed_float4 as (value real, at timestamptz);
create type tidemill._timed_float8 as (value double precision, at timestamptz);
create type tidemill._timed_numeric as (value numeric, at timestamptz);
create type tidemill._timed_text as (value text, at timestamptz);
create type tidemill._numbered_text as (value text, at bigint);

comment on type tidemill._timed_bool is 'A row of first and last. Private.';
comment on type tidemill._timed_int2 is 'A row of first and last. Private.';
comment on type tidemill._timed_int4 is 'A row of first and last. Private.';
comment on type tidemill._timed_int8 is 'A row of first and last. Private.';
comment on type tidemill._timed_float4 is 'A row of first and last. Private.';
comment on type tidemill._timed_float8 is 'A row of first and last. Private.';
comment on type tidemill._timed_numeric is 'A row of first and last. Private.';
comment on type tidemill._timed_text is 'A row of first and last; the text is the value of any type. Private.';
comment on type tidemill._numbered_text is 'A row of first and last whose time is a whole number. Private.';
