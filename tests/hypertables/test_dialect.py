"""TimescaleDB's names: the wrappers have our parameters."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import refused, run, value, values
from tests.support.dialects import lay_timescaledb
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)

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
}


@pytest.fixture
def connection(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """In a database with the dialect."""
    lay_timescaledb(server, connection.info.dsn)
    return connection


def test_signatures(connection: psycopg.Connection) -> None:
    told = run(
        connection,
        "select p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.provolatile,"
        " count(*) from pg_proc p where p.proname in"
        " ('by_range', 'create_hypertable', 'show_chunks', 'drop_chunks') group by 1, 2, 3, 4",
    )
    assert [found[-1] for found in told] == [2] * 5


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
