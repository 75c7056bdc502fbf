"""TimescaleDB's names: the wrappers have our parameters."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import refused, run, value, values
from tests.support.dialects import lay_timescaledb
from tests.support.servers import Server
from tests.support.tablespaces import make_tablespaces

pytestmark = pytest.mark.versions(18)

COLUMNS = {
    "hypertables": (
        "hypertable_schema name, hypertable_name name, owner name, num_dimensions smallint,"
        " num_chunks bigint, compression_enabled boolean, tablespaces name[], primary_dimension name,"
        " primary_dimension_type regtype"
    ),
    "chunks": (
        "hypertable_schema name, hypertable_name name, chunk_schema name, chunk_name name,"
        " primary_dimension name, primary_dimension_type regtype, range_start timestamp with time zone,"
        " range_end timestamp with time zone, range_start_integer bigint, range_end_integer bigint,"
        " is_compressed boolean, chunk_tablespace name, chunk_creation_time timestamp with time zone"
    ),
    "dimensions": (
        "hypertable_schema name, hypertable_name name, dimension_number bigint, column_name name,"
        " column_type regtype, dimension_type text, time_interval interval, integer_interval bigint,"
        " integer_now_func name, num_partitions smallint"
    ),
    "compression_settings": (
        "hypertable_schema name, hypertable_name name, attname name, segmentby_column_index smallint,"
        " orderby_column_index smallint, orderby_asc boolean, orderby_nullsfirst boolean"
    ),
}


@pytest.fixture
def connection(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """In a database with the dialect."""
    lay_timescaledb(server, connection.info.dsn)
    return connection


NAMES = """by_range create_hypertable show_chunks drop_chunks set_chunk_time_interval attach_tablespace
    detach_tablespace detach_tablespaces show_tablespaces move_chunk reorder_chunk add_reorder_policy
    remove_reorder_policy hypertable_size hypertable_detailed_size chunks_detailed_size
    hypertable_index_size approximate_row_count hypertable_compression_stats chunk_compression_stats"""


def test_signatures(connection: psycopg.Connection) -> None:
    names = NAMES.split()
    told = connection.execute(
        "select p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.provolatile,"
        " count(*) from pg_proc p where p.proname = any(%s) group by 1, 2, 3, 4",
        [names],
    ).fetchall()
    # There are two of create_hypertable.
    assert [found[-1] for found in told] == [2] * (len(names) + 1)


@pytest.mark.parametrize("view", COLUMNS)
def test_columns(connection: psycopg.Connection, view: str) -> None:
    told = value(
        connection,
        "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)"
        f" from pg_attribute where attrelid = 'timescaledb_information.{view}'::regclass and attnum > 0",
    )
    assert told == COLUMNS[view]


def test_as_in_the_manual(connection: psycopg.Connection) -> None:
    run(connection, "create table conditions (time timestamptz not null, location text, temperature float8)")
    made = run(
        connection, "select create_hypertable('conditions', 'time', chunk_time_interval => interval '1 day')"
    )
    assert made == [(("1", "app", "conditions", "t"),)] or made[0][0][1:3] == ("app", "conditions")
    run(
        connection,
        "insert into conditions select now() - i * interval '12 hours', 'here', i"
        " from generate_series(0, 19) i; select tidemill.make_chunks('conditions')",
    )
    shown = values(connection, "select show_chunks('conditions', older_than => interval '3 days')::text")
    assert len(shown) in (6, 7)
    assert len(values(connection, "select show_chunks('conditions', newer_than => '3 days')")) in (4, 5)
    assert value(connection, "select num_chunks from timescaledb_information.hypertables") >= 11
    assert value(connection, "select count(*) from timescaledb_information.chunks") >= 11
    dropped = values(connection, "select drop_chunks('conditions', interval '3 days', verbose => false)")
    assert dropped == shown
    assert value(connection, "select count(*) from show_chunks('conditions')") < 8


def test_as_in_the_newer_manual(connection: psycopg.Connection) -> None:
    run(connection, "create table t (time date not null); create table n (id bigint not null)")
    run(connection, "select create_hypertable('t', by_range('time', interval '1 month'))")
    run(connection, "select create_hypertable('n', by_range('id', 1000000), create_default_indexes => false)")
    run(connection, "select create_hypertable('n', by_range('id'), if_not_exists => true)")
    with refused("TS110", 'table "n" is already a hypertable'):
        run(connection, "select create_hypertable('n', 'id')")
    assert value(connection, "select count(*) from timescaledb_information.hypertables") == 2


def test_chunks_under_their_names(server: Server, connection: psycopg.Connection) -> None:
    make_tablespaces(server)
    run(connection, "create table t (at timestamptz not null, device int, unique (device, at))")
    run(
        connection,
        "select create_hypertable('t', 'at'); select set_chunk_time_interval('t', interval '1 day')",
    )
    run(connection, "insert into t select '2026-01-01Z', n from generate_series(3, 1, -1) n")
    run(connection, "select attach_tablespace('cold', 't'), tidemill.make_chunks('t')")
    assert values(connection, "select show_tablespaces('t')") == ["cold"]
    assert value(connection, "select tablespaces from timescaledb_information.hypertables") == ["cold"]
    assert value(connection, "select detach_tablespace('cold', 't', true) + detach_tablespaces('t')") == 1
    chunk = value(connection, "select show_chunks('t', older_than => '2026-02-01')::text")
    run(connection, f"select reorder_chunk('{chunk}', index => 't_device_at_key', verbose => true)")
    assert values(connection, f"select device from {chunk} order by ctid") == [1, 2, 3]
    run(connection, f"select move_chunk(chunk => '{chunk}', destination_tablespace => 'odd place')")
    assert value(
        connection, "select chunk_tablespace from timescaledb_information.chunks where chunk_tablespace <> ''"
    ) == ("odd place")
    assert value(connection, "select add_reorder_policy('t', 't_device_at_key')") > 1000
    run(connection, "select remove_reorder_policy('t', if_exists => true)")
    [(column, kind, width)] = run(
        connection,
        "select column_name, dimension_type, time_interval::text from timescaledb_information.dimensions",
    )
    assert (column, kind, width) == ("at", "Time", "1 day")


def test_sizes_under_their_names(connection: psycopg.Connection) -> None:
    run(connection, "create table t (at timestamptz not null, device int, unique (device, at))")
    run(connection, "insert into t select '2026-01-01Z', n from generate_series(1, 300) n")
    run(connection, "select create_hypertable('t', 'at', migrate_data => true)")
    run(connection, "select tidemill.enable_compression('t', 'device')")
    run(connection, "select compress_chunk(show_chunks('t', older_than => '2026-02-01'))")
    assert value(connection, "select hypertable_size('t') = total_bytes from hypertable_detailed_size('t')")
    assert value(connection, "select hypertable_index_size('app_rows.t_device_at_key')") > 0
    assert value(connection, "select approximate_row_count('t')") >= 300
    for function in ("chunks_detailed_size", "chunk_compression_stats", "hypertable_compression_stats"):
        told = run(connection, f"select * from {function}('t')")
        assert told == run(connection, f"select * from tidemill.{function}('t')")
    settings = run(
        connection,
        "select attname, segmentby_column_index from timescaledb_information.compression_settings"
        " where hypertable_name = 't' order by segmentby_column_index",
    )
    assert settings == [("device", 1), ("at", None)]


def test_the_names_of_the_columnstore(connection: psycopg.Connection) -> None:
    run(connection, "create table t (time timestamptz not null, v int)")
    run(connection, "select create_hypertable('t', 'time', chunk_time_interval => interval '1 day')")
    run(connection, "insert into t values ('2026-01-01 00:00Z', 1), ('2026-01-02 00:00Z', 2)")
    run(connection, "select tidemill.make_chunks('t'); select tidemill.enable_compression('t')")
    packed = "select count(*) from tidemill.chunks where is_compressed"
    for chunk in values(connection, "select show_chunks('t', timestamptz '2026-01-03Z')::text"):
        run(connection, f"call convert_to_columnstore('{chunk}')")
        run(connection, f"call convert_to_columnstore('{chunk}', recompress => true)")
        with refused("42710", "is already compressed"):
            run(connection, f"call convert_to_columnstore('{chunk}', if_not_columnstore => false)")
    assert value(connection, packed) == 2
    run(connection, f"call convert_to_rowstore('{chunk}', if_columnstore => true)")
    assert value(connection, packed) == 1
    with refused("55000", "is not compressed"):
        run(connection, f"call convert_to_rowstore('{chunk}', false)")
    run(connection, "call add_columnstore_policy('t', after => interval '3 days', schedule_interval => '1h')")
    told = values(
        connection,
        "select config ->> 'compress_after' from timescaledb_information.jobs"
        " where config ? 'compress_after'",
    )
    assert told == ["3 days"]
    with refused("0A000", '"created_before" is not supported'):
        run(connection, "call add_columnstore_policy('t', created_before => interval '3 days')")
    run(connection, "call remove_columnstore_policy('t')")
    with refused("42704", "compression policy not found"):
        run(connection, "call remove_columnstore_policy('t')")
    run(connection, "call remove_columnstore_policy('t', if_exists => true)")
    assert run(connection, "select sum(v), count(*) from t") == [(3, 2)]


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        ("select by_hash('device_id', 4)", "segmentby"),
        ("select create_hypertable('t', by_hash('v', 4))", "segmentby"),
        ("select create_hypertable('t', 'time', 'v', 4)", "segmentby"),
        (
            "select add_continuous_aggregate_policy('hourly', start_offset => interval '1 month',"
            " end_offset => null, schedule_interval => interval '1 hour')",
            "with add_job",
        ),
        ("select remove_continuous_aggregate_policy('hourly')", "with delete_job"),
        ("call refresh_continuous_aggregate('hourly', '2026-01-01', '2026-02-01')", "run_job"),
        ("call refresh_continuous_aggregate('hourly', null, now())", "run_job"),
    ],
)
def test_what_there_is_not(connection: psycopg.Connection, call: str, instead: str) -> None:
    run(connection, "create table t (time timestamptz not null, v int)")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="is not supported") as raised:
        run(connection, call)
    assert instead in str(raised.value.diag.message_hint)
