-- TimescaleDB's names over Tidemill's functions: wrappers only, no logic.
-- schemas: timescaledb_information, _timescaledb_config
-- public: add_job(regproc, interval, jsonb, timestamptz, boolean, regproc, boolean, text, text)
-- public: alter_job(integer, interval, interval, integer, interval, boolean, jsonb, timestamptz, boolean, regproc, boolean, timestamptz, text, text, jsonb)
-- public: delete_job(integer)
-- public: run_job(integer)
-- public: by_range(name, anycompatible, regproc)
-- public: by_hash(name, integer, regproc)
-- public: create_hypertable(regclass, name, name, integer, name, name, anycompatible, boolean, boolean, regproc, boolean, regproc)
-- public: create_hypertable(regclass, tidemill.dimension_info, boolean, boolean, boolean)
-- public: show_chunks(regclass, anycompatible, anycompatible, timestamptz, timestamptz)
-- public: drop_chunks(regclass, anycompatible, anycompatible, boolean, timestamptz, timestamptz)
-- public: add_retention_policy(regclass, anycompatible, boolean, interval, timestamptz, text, interval)
-- public: remove_retention_policy(regclass, boolean)
-- public: add_compression_policy(regclass, anycompatible, boolean, interval, timestamptz, text)
-- public: remove_compression_policy(regclass, boolean)
-- public: compress_chunk(regclass, boolean, boolean)
-- public: decompress_chunk(regclass, boolean)
-- public: convert_to_columnstore(regclass, boolean, boolean)
-- public: convert_to_rowstore(regclass, boolean)
-- public: add_columnstore_policy(regclass, anycompatible, boolean, interval, timestamptz, text, interval)
-- public: remove_columnstore_policy(regclass, boolean)
-- public: add_continuous_aggregate_policy(text, anycompatible, anycompatible, interval, boolean, timestamptz, text, boolean, integer, integer, boolean)
-- public: remove_continuous_aggregate_policy(text, boolean, boolean)
-- public: refresh_continuous_aggregate(text, anycompatible, anycompatible, boolean, jsonb)
-- public: decompress_backfill(regclass, regclass, text, boolean, interval, text[], boolean, text)
-- public: set_chunk_time_interval(regclass, anycompatible, name)
-- public: attach_tablespace(name, regclass, boolean)
-- public: detach_tablespace(name, regclass, boolean)
-- public: detach_tablespaces(regclass)
-- public: show_tablespaces(regclass)
-- public: move_chunk(regclass, name, name, regclass, boolean)
-- public: reorder_chunk(regclass, regclass, boolean)
-- public: add_reorder_policy(regclass, name, boolean, timestamptz, text)
-- public: remove_reorder_policy(regclass, boolean)
-- public: hypertable_size(regclass)
-- public: hypertable_detailed_size(regclass)
-- public: chunks_detailed_size(regclass)
-- public: hypertable_index_size(regclass)
-- public: approximate_row_count(regclass)
-- public: hypertable_compression_stats(regclass)
-- public: chunk_columnstore_stats(regclass)
-- public: hypertable_columnstore_stats(regclass)
-- public: chunk_compression_stats(regclass)
-- public: time_bucket(interval, timestamp with time zone)
-- public: time_bucket(interval, timestamp with time zone, timestamp with time zone)
-- public: time_bucket(interval, timestamp with time zone, interval)
-- public: time_bucket(interval, timestamp without time zone)
-- public: time_bucket(interval, timestamp without time zone, timestamp without time zone)
-- public: time_bucket(interval, timestamp without time zone, interval)
-- public: time_bucket(interval, date)
-- public: time_bucket(interval, date, date)
-- public: time_bucket(interval, date, interval)
-- public: time_bucket(interval, timestamp with time zone, text, timestamp with time zone, interval)
-- public: time_bucket(smallint, smallint)
-- public: time_bucket(smallint, smallint, smallint)
-- public: time_bucket(integer, integer)
-- public: time_bucket(integer, integer, integer)
-- public: time_bucket(bigint, bigint)
-- public: time_bucket(bigint, bigint, bigint)
-- public: first(boolean, timestamp with time zone)
-- public: first(boolean, timestamp without time zone)
-- public: first(smallint, timestamp with time zone)
-- public: first(smallint, timestamp without time zone)
-- public: first(integer, timestamp with time zone)
-- public: first(integer, timestamp without time zone)
-- public: first(bigint, timestamp with time zone)
-- public: first(bigint, timestamp without time zone)
-- public: first(real, timestamp with time zone)
-- public: first(real, timestamp without time zone)
-- public: first(double precision, timestamp with time zone)
-- public: first(double precision, timestamp without time zone)
-- public: first(numeric, timestamp with time zone)
-- public: first(numeric, timestamp without time zone)
-- public: first(text, timestamp with time zone)
-- public: first(text, timestamp without time zone)
-- public: first(anyelement, timestamp with time zone)
-- public: first(anyelement, timestamp without time zone)
-- public: first(anyelement, bigint)
-- public: last(boolean, timestamp with time zone)
-- public: last(boolean, timestamp without time zone)
-- public: last(smallint, timestamp with time zone)
-- public: last(smallint, timestamp without time zone)
-- public: last(integer, timestamp with time zone)
-- public: last(integer, timestamp without time zone)
-- public: last(bigint, timestamp with time zone)
-- public: last(bigint, timestamp without time zone)
-- public: last(real, timestamp with time zone)
-- public: last(real, timestamp without time zone)
-- public: last(double precision, timestamp with time zone)
-- public: last(double precision, timestamp without time zone)
-- public: last(numeric, timestamp with time zone)
-- public: last(numeric, timestamp without time zone)
-- public: last(text, timestamp with time zone)
-- public: last(text, timestamp without time zone)
-- public: last(anyelement, timestamp with time zone)
-- public: last(anyelement, timestamp without time zone)
-- public: last(anyelement, bigint)

create or replace function public.add_job(
  proc regproc,
  schedule_interval interval,
  config jsonb default null,
  initial_start timestamptz default null,
  scheduled boolean default true,
  check_config regproc default null,
  fixed_schedule boolean default true,
  timezone text default null,
  job_name text default null
) returns integer
language sql
as $$
  select tidemill._add_action(
    proc, schedule_interval, config, initial_start, scheduled, check_config, fixed_schedule, timezone, job_name,
    null, null, null, null, null, null, null, null, null, false, 'job')
$$;
comment on function public.add_job(
  regproc, interval, jsonb, timestamptz, boolean, regproc, boolean, text, text) is
  'Laid by Tidemill: tidemill.add_action under TimescaleDB''s name.';

create or replace function public.alter_job(
  job_id integer,
  schedule_interval interval default null,
  max_runtime interval default null,
  max_retries integer default null,
  retry_period interval default null,
  scheduled boolean default null,
  config jsonb default null,
  next_start timestamptz default null,
  if_exists boolean default false,
  check_config regproc default null,
  fixed_schedule boolean default null,
  initial_start timestamptz default null,
  timezone text default null,
  job_name text default null,
  config_merge jsonb default null
) returns table (
  job_id integer,
  schedule_interval interval,
  max_runtime interval,
  max_retries integer,
  retry_period interval,
  scheduled boolean,
  config jsonb,
  next_start timestamptz,
  check_config text,
  fixed_schedule boolean,
  initial_start timestamptz,
  timezone text,
  application_name name
)
language sql
as $$
  select
    (r.a).id, (r.a).schedule_interval, (r.a).max_runtime, (r.a).max_retries, (r.a).retry_period,
    (r.a).scheduled, (r.a).config, r.starts, r.checked_by, (r.a).fixed_schedule, (r.a).initial_start,
    (r.a).timezone, r.application_name
  from tidemill._alter_action(
    job_id, schedule_interval, max_runtime, max_retries, retry_period, scheduled, config, next_start, if_exists,
    check_config, fixed_schedule, initial_start, timezone, job_name, config_merge,
    null, null, null, null, null, 'job') r
$$;
comment on function public.alter_job(
  integer, interval, interval, integer, interval, boolean, jsonb, timestamptz, boolean, regproc, boolean,
  timestamptz, text, text, jsonb) is
  'Laid by Tidemill: tidemill.alter_action under TimescaleDB''s name.';

create or replace function public.delete_job(job_id integer) returns void
language sql strict
as $$ select tidemill._delete_action(job_id, 'job') $$;
comment on function public.delete_job(integer) is
  'Laid by Tidemill: tidemill.delete_action under TimescaleDB''s name.';

-- No SET clause, no SECURITY DEFINER, no EXCEPTION block: the job's procedure may COMMIT.
create or replace procedure public.run_job(job_id integer)
language plpgsql
as $$
begin
  call tidemill._run_action(job_id, 'job');
end
$$;
comment on procedure public.run_job(integer) is
  'Laid by Tidemill: tidemill.run_action under TimescaleDB''s name.';

create or replace function public.by_range(
  column_name name,
  partition_interval anycompatible default null,
  partition_func regproc default null
) returns tidemill.dimension_info
language sql immutable
as $$ select tidemill.by_range(column_name, partition_interval, partition_func) $$;
comment on function public.by_range(name, anycompatible, regproc) is
  'Laid by Tidemill: tidemill.by_range under TimescaleDB''s name.';

create or replace function public.create_hypertable(
  relation regclass,
  time_column_name name,
  partitioning_column name default null,
  number_partitions integer default null,
  associated_schema_name name default null,
  associated_table_prefix name default null,
  chunk_time_interval anycompatible default null,
  create_default_indexes boolean default true,
  if_not_exists boolean default false,
  partitioning_func regproc default null,
  migrate_data boolean default false,
  time_partitioning_func regproc default null
) returns table (hypertable_id integer, schema_name name, table_name name, created boolean)
language sql
as $$
  select c.hypertable_id, c.schema_name, c.table_name, c.created
  from tidemill.create_hypertable(
    relation, time_column_name, partitioning_column, number_partitions, associated_schema_name,
    associated_table_prefix, chunk_time_interval, create_default_indexes, if_not_exists, partitioning_func,
    migrate_data, time_partitioning_func) c
$$;
comment on function public.create_hypertable(
  regclass, name, name, integer, name, name, anycompatible, boolean, boolean, regproc, boolean, regproc) is
  'Laid by Tidemill: tidemill.create_hypertable under TimescaleDB''s name.';

create or replace function public.create_hypertable(
  relation regclass,
  dimension tidemill.dimension_info,
  create_default_indexes boolean default true,
  if_not_exists boolean default false,
  migrate_data boolean default false
) returns table (hypertable_id integer, created boolean)
language sql
as $$
  select c.hypertable_id, c.created
  from tidemill.create_hypertable(relation, dimension, create_default_indexes, if_not_exists, migrate_data) c
$$;
comment on function public.create_hypertable(regclass, tidemill.dimension_info, boolean, boolean, boolean) is
  'Laid by Tidemill: tidemill.create_hypertable under TimescaleDB''s name.';

create or replace function public.show_chunks(
  relation regclass,
  older_than anycompatible default null,
  newer_than anycompatible default null,
  created_before timestamptz default null,
  created_after timestamptz default null
) returns setof regclass
language sql stable
as $$ select tidemill.show_chunks(relation, older_than, newer_than, created_before, created_after) $$;
comment on function public.show_chunks(regclass, anycompatible, anycompatible, timestamptz, timestamptz) is
  'Laid by Tidemill: tidemill.show_chunks under TimescaleDB''s name.';

create or replace function public.drop_chunks(
  relation regclass,
  older_than anycompatible default null,
  newer_than anycompatible default null,
  verbose boolean default false,
  created_before timestamptz default null,
  created_after timestamptz default null
) returns setof text
language sql
as $$ select tidemill.drop_chunks(relation, older_than, newer_than, drop_chunks.verbose, created_before, created_after) $$;
comment on function public.drop_chunks(regclass, anycompatible, anycompatible, boolean, timestamptz, timestamptz) is
  'Laid by Tidemill: tidemill.drop_chunks under TimescaleDB''s name.';

-- For each of ours one of the same arguments. Without string bodies: the caller needs no right on our schema.
do $$
declare
  ours record;
begin
  for ours in
    select p.oid, p.pronargs, pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result
    from pg_proc p where p.pronamespace = 'tidemill'::regnamespace and p.proname = 'time_bucket'
  loop
    execute format(
      'create or replace function public.time_bucket(%s) returns %s language sql immutable parallel safe'
      ' return tidemill.time_bucket(%s)',
      ours.arguments, ours.result, (select string_agg('$' || n, ', ' order by n) from generate_series(1, ours.pronargs) n));
    execute format('comment on function public.time_bucket(%s) is %L', oidvectortypes(
      (select p.proargtypes from pg_proc p where p.oid = ours.oid)),
      'Laid by Tidemill: tidemill.time_bucket under TimescaleDB''s name.');
  end loop;
end
$$;

-- An aggregate cannot call another, so these are made of the same parts as ours.
do $$
declare
  ours record;
begin
  for ours in
    select p.proname, pg_get_function_arguments(p.oid) as arguments, oidvectortypes(p.proargtypes) as types,
           a.aggtransfn, a.aggtranstype::regtype as state, a.aggcombinefn, a.aggfinalfn,
           case when a.aggfinalextra then ', finalfunc_extra' end as extra
    from pg_aggregate a join pg_proc p on p.oid = a.aggfnoid
    where p.pronamespace = 'tidemill'::regnamespace and p.proname in ('first', 'last')
  loop
    execute format(
      'create or replace aggregate public.%I(%s) (sfunc = %s, stype = %s, combinefunc = %s, finalfunc = %s%s, parallel = safe)',
      ours.proname, ours.arguments, ours.aggtransfn, ours.state, ours.aggcombinefn, ours.aggfinalfn, ours.extra);
    execute format('comment on aggregate public.%I(%s) is %L', ours.proname, ours.types,
      format('Laid by Tidemill: tidemill.%s under TimescaleDB''s name.', ours.proname));
  end loop;
end
$$;

create or replace view _timescaledb_config.bgw_job as
select
  a.id,
  tidemill._application_name(a.id, a.name)::name as application_name,
  a.schedule_interval,
  a.max_runtime,
  a.max_retries,
  a.retry_period,
  a.proc_schema,
  coalesce(a.proc_name, a.task::name) as proc_name,
  a.owner,
  a.scheduled,
  a.fixed_schedule,
  a.initial_start,
  null::integer as hypertable_id,
  a.config,
  a.check_schema,
  a.check_name,
  a.timezone
from tidemill._actions a;
comment on view _timescaledb_config.bgw_job is
  'Actions with the columns of TimescaleDB''s table. Writing goes through the functions.';

create or replace view timescaledb_information.jobs as
select
  j.id as job_id,
  j.application_name,
  j.schedule_interval,
  j.max_runtime,
  j.max_retries,
  j.retry_period,
  j.proc_schema,
  j.proc_name,
  j.owner,
  j.scheduled,
  j.fixed_schedule,
  j.config,
  s.next_start,
  j.initial_start,
  null::name as hypertable_schema,
  null::name as hypertable_name,
  j.check_schema,
  j.check_name
from _timescaledb_config.bgw_job j
-- TimescaleDB has no such row before the first start of a job that starts at once.
left join tidemill._action_states s
  on s.action_id = j.id and (s.last_start is not null or s.next_start <> '-infinity');
comment on view timescaledb_information.jobs is
  'Actions with TimescaleDB''s columns. Natively: tidemill.actions. Cron lines have no schedule_interval, tasks no proc_schema.';

create or replace view timescaledb_information.job_stats as
select
  null::name as hypertable_schema,
  null::name as hypertable_name,
  t.action_id as job_id,
  case when s.action_id is not null then coalesce(s.last_start, '-infinity') end as last_run_started_at,
  case when s.action_id is not null then coalesce(s.last_successful_finish, '-infinity') end
    as last_successful_finish,
  case when t.last_run_success then 'Success' when not t.last_run_success then 'Failed' end as last_run_status,
  initcap(t.state) as job_status,
  t.last_duration as last_run_duration,
  case when t.state <> 'paused' then s.next_start end as next_start,
  t.total_runs,
  t.total_successes,
  t.total_failures
from tidemill.action_stats t
left join tidemill._action_states s
  on s.action_id = t.action_id and (s.last_start is not null or s.next_start <> '-infinity')
order by t.action_id;
comment on view timescaledb_information.job_stats is
  'Where each action stands, with TimescaleDB''s columns. Natively: tidemill.action_stats.';

create or replace view timescaledb_information.job_history with (security_barrier) as
select
  h.id,
  h.action_id as job_id,
  h.succeeded,
  r.proc_schema::text as proc_schema,
  coalesce(r.proc_name::text, r.task) as proc_name,
  h.pid,
  h.started_at as start_time,
  h.finished_at as finish_time,
  h.config,
  h.sqlstate as sqlerrcode,
  h.message || case
    when h.detail is not null and h.hint is not null then '. ' || h.detail || '. ' || h.hint
    when h.detail is not null then ' ' || h.detail
    when h.hint is not null then '. ' || h.hint
    else ''
  end as err_message
from tidemill.action_history h
join tidemill._action_runs r on r.id = h.id
where h.outcome is distinct from 'skipped';
comment on view timescaledb_information.job_history is
  'Runs with TimescaleDB''s columns. Natively: tidemill.action_history.';

create or replace view timescaledb_information.job_errors with (security_barrier) as
select h.job_id, h.proc_schema, h.proc_name, h.pid, h.start_time, h.finish_time, h.sqlerrcode, h.err_message
from timescaledb_information.job_history h
where not h.succeeded;
comment on view timescaledb_information.job_errors is
  'Runs that failed, with TimescaleDB''s columns. Natively: tidemill.action_errors.';

create or replace view timescaledb_information.hypertables as
select
  h.hypertable_schema,
  h.hypertable_name,
  h.owner,
  1::smallint as num_dimensions,
  h.num_chunks,
  h.compression_enabled,
  h.tablespaces,
  h.primary_dimension,
  h.primary_dimension_type
from tidemill.hypertables h;
comment on view timescaledb_information.hypertables is
  'Hypertables with TimescaleDB''s columns. Natively: tidemill.hypertables.';

create or replace view timescaledb_information.chunks as
select
  c.hypertable_schema, c.hypertable_name, c.chunk_schema, c.chunk_name, c.primary_dimension, c.primary_dimension_type,
  c.range_start, c.range_end, c.range_start_integer, c.range_end_integer, c.is_compressed, c.chunk_tablespace,
  c.chunk_creation_time
from tidemill.chunks c;
comment on view timescaledb_information.chunks is
  'Chunks with TimescaleDB''s columns. Natively: tidemill.chunks.';

create or replace view timescaledb_information.dimensions as
select
  h.hypertable_schema,
  h.hypertable_name,
  1::bigint as dimension_number,
  h.primary_dimension as column_name,
  h.primary_dimension_type as column_type,
  'Time'::text as dimension_type,
  h.time_interval,
  h.integer_interval,
  null::name as integer_now_func,
  null::smallint as num_partitions
from tidemill.hypertables h;
comment on view timescaledb_information.dimensions is
  'By what hypertables are cut, with TimescaleDB''s columns. Natively: tidemill.hypertables.';

create or replace view timescaledb_information.compression_settings as
select
  c.hypertable_schema, c.hypertable_name, c.attname, c.segmentby_column_index, c.orderby_column_index, c.orderby_asc,
  c.orderby_nullsfirst
from tidemill.compression_settings c;
comment on view timescaledb_information.compression_settings is
  'How rows are packed, with TimescaleDB''s columns. Natively: tidemill.compression_settings.';

grant usage on schema timescaledb_information, _timescaledb_config to public;
grant select on all tables in schema timescaledb_information, _timescaledb_config to public;

create or replace function public.compress_chunk(
  uncompressed_chunk regclass, if_not_compressed boolean default true, recompress boolean default false
) returns regclass
language sql
as $$ select tidemill.compress_chunk(uncompressed_chunk, if_not_compressed, recompress) $$;
comment on function public.compress_chunk(regclass, boolean, boolean) is
  'Laid by Tidemill: tidemill.compress_chunk under TimescaleDB''s name.';

create or replace function public.decompress_chunk(uncompressed_chunk regclass, if_compressed boolean default true)
returns regclass
language sql
as $$ select tidemill.decompress_chunk(uncompressed_chunk, if_compressed) $$;
comment on function public.decompress_chunk(regclass, boolean) is
  'Laid by Tidemill: tidemill.decompress_chunk under TimescaleDB''s name.';

-- It commits, as run_job does.
create or replace procedure public.decompress_backfill(
  staging_table regclass,
  destination_hypertable regclass,
  on_conflict_action text default 'NOTHING',
  delete_from_staging boolean default true,
  compression_job_push_interval interval default '1 day',
  on_conflict_update_columns text[] default '{}',
  skip_empty_ranges boolean default false,
  on_conflict_target text default ''
)
language plpgsql
as $$
begin
  call tidemill.decompress_backfill(
    staging_table, destination_hypertable, on_conflict_action, delete_from_staging, compression_job_push_interval,
    on_conflict_update_columns, skip_empty_ranges, on_conflict_target);
end
$$;
comment on procedure public.decompress_backfill(
  regclass, regclass, text, boolean, interval, text[], boolean, text) is
  'Laid by Tidemill: tidemill.decompress_backfill under its name in timescaledb-extras.';

create or replace function public.add_retention_policy(
  relation regclass,
  drop_after anycompatible default null,
  if_not_exists boolean default false,
  schedule_interval interval default null,
  initial_start timestamptz default null,
  timezone text default null,
  drop_created_before interval default null
) returns integer
language sql
as $$
  select tidemill.add_retention_policy(
    relation, drop_after, if_not_exists, schedule_interval, initial_start, timezone, drop_created_before)
$$;
comment on function public.add_retention_policy(
  regclass, anycompatible, boolean, interval, timestamptz, text, interval) is
  'Laid by Tidemill: tidemill.add_retention_policy under TimescaleDB''s name.';

create or replace function public.remove_retention_policy(relation regclass, if_exists boolean default false) returns void
language sql
as $$ select tidemill.remove_retention_policy(relation, if_exists) $$;
comment on function public.remove_retention_policy(regclass, boolean) is
  'Laid by Tidemill: tidemill.remove_retention_policy under TimescaleDB''s name.';

create or replace function public.add_compression_policy(
  hypertable regclass,
  compress_after anycompatible default null,
  if_not_exists boolean default false,
  schedule_interval interval default null,
  initial_start timestamptz default null,
  timezone text default null
) returns integer
language sql
as $$
  select tidemill.add_compression_policy(
    hypertable, compress_after, if_not_exists, schedule_interval, initial_start, timezone)
$$;
comment on function public.add_compression_policy(
  regclass, anycompatible, boolean, interval, timestamptz, text) is
  'Laid by Tidemill: tidemill.add_compression_policy under TimescaleDB''s name.';

create or replace function public.remove_compression_policy(hypertable regclass, if_exists boolean default false)
returns boolean
language sql
as $$ select tidemill.remove_compression_policy(hypertable, if_exists) $$;
comment on function public.remove_compression_policy(regclass, boolean) is
  'Laid by Tidemill: tidemill.remove_compression_policy under TimescaleDB''s name.';

create or replace function public.set_chunk_time_interval(
  hypertable regclass,
  chunk_time_interval anycompatible,
  dimension_name name default null
) returns void
language sql
as $$ select tidemill.set_chunk_time_interval(hypertable, chunk_time_interval, dimension_name) $$;
comment on function public.set_chunk_time_interval(regclass, anycompatible, name) is
  'Laid by Tidemill: tidemill.set_chunk_time_interval under TimescaleDB''s name.';

create or replace function public.attach_tablespace(
  tablespace name, hypertable regclass, if_not_attached boolean default false
) returns void
language sql
as $$ select tidemill.attach_tablespace(tablespace, hypertable, if_not_attached) $$;
comment on function public.attach_tablespace(name, regclass, boolean) is
  'Laid by Tidemill: tidemill.attach_tablespace under TimescaleDB''s name.';

create or replace function public.detach_tablespace(
  tablespace name, hypertable regclass default null, if_attached boolean default false
) returns integer
language sql
as $$ select tidemill.detach_tablespace(tablespace, hypertable, if_attached) $$;
comment on function public.detach_tablespace(name, regclass, boolean) is
  'Laid by Tidemill: tidemill.detach_tablespace under TimescaleDB''s name.';

create or replace function public.detach_tablespaces(hypertable regclass) returns integer
language sql
as $$ select tidemill.detach_tablespaces(hypertable) $$;
comment on function public.detach_tablespaces(regclass) is
  'Laid by Tidemill: tidemill.detach_tablespaces under TimescaleDB''s name.';

create or replace function public.show_tablespaces(hypertable regclass) returns setof name
language sql stable
as $$ select tidemill.show_tablespaces(hypertable) $$;
comment on function public.show_tablespaces(regclass) is
  'Laid by Tidemill: tidemill.show_tablespaces under TimescaleDB''s name.';

create or replace function public.move_chunk(
  chunk regclass,
  destination_tablespace name,
  index_destination_tablespace name default null,
  reorder_index regclass default null,
  verbose boolean default false
) returns void
language sql
as $$
  select tidemill.move_chunk(
    chunk, destination_tablespace, index_destination_tablespace, reorder_index, move_chunk.verbose)
$$;
comment on function public.move_chunk(regclass, name, name, regclass, boolean) is
  'Laid by Tidemill: tidemill.move_chunk under TimescaleDB''s name.';

create or replace function public.reorder_chunk(
  chunk regclass, index regclass default null, verbose boolean default false
) returns void
language sql
as $$ select tidemill.reorder_chunk(chunk, index, reorder_chunk.verbose) $$;
comment on function public.reorder_chunk(regclass, regclass, boolean) is
  'Laid by Tidemill: tidemill.reorder_chunk under TimescaleDB''s name.';

create or replace function public.add_reorder_policy(
  hypertable regclass,
  index_name name,
  if_not_exists boolean default false,
  initial_start timestamptz default null,
  timezone text default null
) returns integer
language sql
as $$ select tidemill.add_reorder_policy(hypertable, index_name, if_not_exists, initial_start, timezone) $$;
comment on function public.add_reorder_policy(regclass, name, boolean, timestamptz, text) is
  'Laid by Tidemill: tidemill.add_reorder_policy under TimescaleDB''s name.';

create or replace function public.remove_reorder_policy(hypertable regclass, if_exists boolean default false) returns void
language sql
as $$ select tidemill.remove_reorder_policy(hypertable, if_exists) $$;
comment on function public.remove_reorder_policy(regclass, boolean) is
  'Laid by Tidemill: tidemill.remove_reorder_policy under TimescaleDB''s name.';

create or replace function public.hypertable_size(hypertable regclass) returns bigint
language sql stable
as $$ select tidemill.hypertable_size(hypertable) $$;
comment on function public.hypertable_size(regclass) is
  'Laid by Tidemill: tidemill.hypertable_size under TimescaleDB''s name.';

create or replace function public.hypertable_index_size(index_name regclass) returns bigint
language sql stable
as $$ select tidemill.hypertable_index_size(index_name) $$;
comment on function public.hypertable_index_size(regclass) is
  'Laid by Tidemill: tidemill.hypertable_index_size under TimescaleDB''s name.';

create or replace function public.approximate_row_count(relation regclass) returns bigint
language sql stable
as $$ select tidemill.approximate_row_count(relation) $$;
comment on function public.approximate_row_count(regclass) is
  'Laid by Tidemill: tidemill.approximate_row_count under TimescaleDB''s name.';

create or replace function public.hypertable_detailed_size(hypertable regclass)
returns table (table_bytes bigint, index_bytes bigint, toast_bytes bigint, total_bytes bigint, node_name name)
language sql stable
as $$ select * from tidemill.hypertable_detailed_size(hypertable) $$;
comment on function public.hypertable_detailed_size(regclass) is
  'Laid by Tidemill: tidemill.hypertable_detailed_size under TimescaleDB''s name.';

create or replace function public.chunks_detailed_size(hypertable regclass)
returns table (
  chunk_schema name, chunk_name name, table_bytes bigint, index_bytes bigint, toast_bytes bigint, total_bytes bigint,
  node_name name)
language sql stable
as $$ select * from tidemill.chunks_detailed_size(hypertable) $$;
comment on function public.chunks_detailed_size(regclass) is
  'Laid by Tidemill: tidemill.chunks_detailed_size under TimescaleDB''s name.';

create or replace function public.chunk_compression_stats(hypertable regclass)
returns table (
  chunk_schema name, chunk_name name, compression_status text,
  before_compression_table_bytes bigint, before_compression_index_bytes bigint,
  before_compression_toast_bytes bigint, before_compression_total_bytes bigint,
  after_compression_table_bytes bigint, after_compression_index_bytes bigint,
  after_compression_toast_bytes bigint, after_compression_total_bytes bigint, node_name name)
language sql stable
as $$ select * from tidemill.chunk_compression_stats(hypertable) $$;
comment on function public.chunk_compression_stats(regclass) is
  'Laid by Tidemill: tidemill.chunk_compression_stats under TimescaleDB''s name.';

create or replace function public.hypertable_compression_stats(hypertable regclass)
returns table (
  total_chunks bigint, number_compressed_chunks bigint,
  before_compression_table_bytes bigint, before_compression_index_bytes bigint,
  before_compression_toast_bytes bigint, before_compression_total_bytes bigint,
  after_compression_table_bytes bigint, after_compression_index_bytes bigint,
  after_compression_toast_bytes bigint, after_compression_total_bytes bigint, node_name name)
language sql stable
as $$ select * from tidemill.hypertable_compression_stats(hypertable) $$;
comment on function public.hypertable_compression_stats(regclass) is
  'Laid by Tidemill: tidemill.hypertable_compression_stats under TimescaleDB''s name.';

-- The names that it has had for compression since 2.18. Those that change something are procedures there, too.

create or replace procedure public.convert_to_columnstore(
  chunk regclass, if_not_columnstore boolean default true, recompress boolean default false
)
language sql
as $$ select tidemill.compress_chunk(chunk, if_not_columnstore, recompress) $$;
comment on procedure public.convert_to_columnstore(regclass, boolean, boolean) is
  'Laid by Tidemill: tidemill.compress_chunk under TimescaleDB''s name.';

create or replace procedure public.convert_to_rowstore(chunk regclass, if_columnstore boolean default true)
language sql
as $$ select tidemill.decompress_chunk(chunk, if_columnstore) $$;
comment on procedure public.convert_to_rowstore(regclass, boolean) is
  'Laid by Tidemill: tidemill.decompress_chunk under TimescaleDB''s name.';

create or replace function public.chunk_columnstore_stats(hypertable regclass)
returns table (
  chunk_schema name, chunk_name name, compression_status text,
  before_compression_table_bytes bigint, before_compression_index_bytes bigint,
  before_compression_toast_bytes bigint, before_compression_total_bytes bigint,
  after_compression_table_bytes bigint, after_compression_index_bytes bigint,
  after_compression_toast_bytes bigint, after_compression_total_bytes bigint, node_name name)
language sql stable
as $$ select * from tidemill.chunk_compression_stats(hypertable) $$;
comment on function public.chunk_columnstore_stats(regclass) is
  'Laid by Tidemill: tidemill.chunk_compression_stats under TimescaleDB''s name.';

create or replace function public.hypertable_columnstore_stats(hypertable regclass)
returns table (
  total_chunks bigint, number_compressed_chunks bigint,
  before_compression_table_bytes bigint, before_compression_index_bytes bigint,
  before_compression_toast_bytes bigint, before_compression_total_bytes bigint,
  after_compression_table_bytes bigint, after_compression_index_bytes bigint,
  after_compression_toast_bytes bigint, after_compression_total_bytes bigint, node_name name)
language sql stable
as $$ select * from tidemill.hypertable_compression_stats(hypertable) $$;
comment on function public.hypertable_columnstore_stats(regclass) is
  'Laid by Tidemill: tidemill.hypertable_compression_stats under TimescaleDB''s name.';

create or replace procedure public.add_columnstore_policy(
  hypertable regclass,
  after anycompatible default null,
  if_not_exists boolean default false,
  schedule_interval interval default null,
  initial_start timestamptz default null,
  timezone text default null,
  created_before interval default null
)
language sql
as $$
  select tidemill._refuse_argument('created_before', created_before is not null, 'Choose the chunks by their time: after.');
  select tidemill.add_compression_policy(hypertable, after, if_not_exists, schedule_interval, initial_start, timezone)
$$;
comment on procedure public.add_columnstore_policy(
  regclass, anycompatible, boolean, interval, timestamptz, text, interval) is
  'Laid by Tidemill: tidemill.add_compression_policy under TimescaleDB''s name.';

create or replace procedure public.remove_columnstore_policy(hypertable regclass, if_exists boolean default false)
language sql
as $$ select tidemill.remove_compression_policy(hypertable, if_exists) $$;
comment on procedure public.remove_columnstore_policy(regclass, boolean) is
  'Laid by Tidemill: tidemill.remove_compression_policy under TimescaleDB''s name.';

-- What there is not is refused with what there is instead.

create or replace function public.by_hash(
  column_name name, number_partitions integer, partition_func regproc default null
) returns tidemill.dimension_info
language sql
as $$ select tidemill.by_hash(column_name, number_partitions, partition_func) $$;
comment on function public.by_hash(name, integer, regproc) is
  'Laid by Tidemill: tidemill.by_hash under TimescaleDB''s name, which raises 0A000.';

-- The aggregate is a text, since there can be none of that name.
create or replace function public.add_continuous_aggregate_policy(
  continuous_aggregate text,
  start_offset anycompatible,
  end_offset anycompatible,
  schedule_interval interval,
  if_not_exists boolean default false,
  initial_start timestamptz default null,
  timezone text default null,
  include_tiered_data boolean default null,
  buckets_per_batch integer default null,
  max_batches_per_execution integer default null,
  refresh_newest_first boolean default null
) returns integer
language sql
as $$
  select tidemill._refuse_argument('add_continuous_aggregate_policy', true,
    'Downsample into a table of your own on a schedule, with add_job.');
  select null::integer
$$;
comment on function public.add_continuous_aggregate_policy(
  text, anycompatible, anycompatible, interval, boolean, timestamptz, text, boolean, integer, integer, boolean) is
  'Laid by Tidemill: there are no continuous aggregates, so it raises 0A000.';

create or replace function public.remove_continuous_aggregate_policy(
  continuous_aggregate text, if_not_exists boolean default false, if_exists boolean default null
) returns void
language sql
as $$
  select tidemill._refuse_argument('remove_continuous_aggregate_policy', true,
    'Delete the action that downsamples, with delete_job.')
$$;
comment on function public.remove_continuous_aggregate_policy(text, boolean, boolean) is
  'Laid by Tidemill: there are no continuous aggregates, so it raises 0A000.';

create or replace procedure public.refresh_continuous_aggregate(
  continuous_aggregate text,
  window_start anycompatible,
  window_end anycompatible,
  force boolean default false,
  options jsonb default null
)
language sql
as $$
  select tidemill._refuse_argument('refresh_continuous_aggregate', true,
    'Downsample into a table of your own, with an action: run_job runs it at once.')
$$;
comment on procedure public.refresh_continuous_aggregate(text, anycompatible, anycompatible, boolean, jsonb) is
  'Laid by Tidemill: there are no continuous aggregates, so it raises 0A000.';
