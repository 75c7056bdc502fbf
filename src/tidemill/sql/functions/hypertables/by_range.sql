create or replace function tidemill.by_range(
  column_name name,
  partition_interval anycompatible default null,
  partition_func regproc default null
) returns tidemill.dimension_info
language plpgsql immutable set search_path = pg_catalog, pg_temp set intervalstyle = 'postgres'
as $$
begin
  perform tidemill._refuse_argument('partition_func', partition_func is not null, 'Use a column that is the time itself.');
  return row(column_name, partition_interval::text, pg_typeof(partition_interval))::tidemill.dimension_info;
end
$$;
comment on function tidemill.by_range is
$$Says by which column create_hypertable cuts a table into chunks, and how wide they are.

column_name         the column of the time
partition_interval  the width of a chunk; as chunk_time_interval of create_hypertable
partition_func      refused

Error: 0A000 partition_func is given.$$;

create or replace function tidemill._refuse_argument(argument text, given boolean, remedy text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  if given then
    raise exception using errcode = '0A000', message = format('"%s" is not supported', argument), hint = remedy;
  end if;
end
$$;
comment on function tidemill._refuse_argument is 'Raises 0A000 for an argument of TimescaleDB''s that has no meaning here.';
