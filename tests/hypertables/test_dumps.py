"""A dump of hypertables, restored by an ordinary role: the rows are there, and all goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.generated import TYPES, fill, rows, table
from tests.hypertables.packed import DEVICES, ROWS, compress, count, images
from tests.support.servers import EMPTY, Server

pytestmark = pytest.mark.versions(18, 17, 16, 15)

_SEEDS = range(2)
_READINGS = """
    create table devices (id integer primary key); insert into devices select generate_series(1, 5);
    create table "Readings" (
      id bigint generated always as identity, at timestamp not null,
      device integer not null references devices, celsius numeric,
      fahrenheit numeric generated always as (celsius * 1.8 + 32) stored, note text default 'x'
    );
    select tidemill.create_hypertable('"Readings"', 'at', chunk_time_interval => interval '1 day');
    insert into "Readings" (at, device, celsius)
      select '2026-01-01', 1 + n % 5, n from generate_series(1, 50) n;
    select tidemill.make_chunks('"Readings"');
    select tidemill.enable_compression('"Readings"', 'device');
    select tidemill.compress_chunk(c) from tidemill.show_chunks('"Readings"') c;
    select tidemill.add_retention_policy('"Readings"', interval '100 years');
"""


def _fill(connection: psycopg.Connection) -> None:
    connection.execute(TYPES + DEVICES + _READINGS)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(connection, before="2026-01-04 00:00+00")
    # One that was packed, and one that has a row beside its segments.
    connection.execute(
        "select tidemill.decompress_chunk(c) from tidemill.show_chunks('event_data') c limit 1;"
        "insert into event_data values ('2026-01-02 00:05+00', 1)"
    )
    for seed in _SEEDS:
        random = Random(seed)
        of = table(random)
        connection.execute(of.create(f"t{seed}").encode())
        connection.execute(f"select from tidemill.create_hypertable('t{seed}', {of.arguments})".encode())
        fill(connection, f"t{seed}", of, rows(random, of, 60, 0))
        connection.execute(
            f"select tidemill.make_chunks('t{seed}');"
            f"select tidemill.enable_compression('t{seed}', '{','.join(of.segmentby)}')".encode()
        )
        compress(connection, f"t{seed}")


@contextmanager
def _restored(server: Server, database: str, kind: str, file: Path) -> Iterator[psycopg.Connection]:
    """A connection to another database, into which this one is dumped and restored."""
    schemas = ("tidemill", "graphile_worker", "app", "app_rows", "app_chunks")
    what = [argument for name in schemas for argument in ("--schema", name)]
    server.program("pg_dump", f"--format={kind}", "--file", file, *what, database)
    name = server.clone(EMPTY)
    into = server.conninfo(name)
    with psycopg.connect(into, autocommit=True) as opened:
        opened.execute("drop schema app")
    if kind == "custom":
        server.program("pg_restore", "--exit-on-error", "--single-transaction", "--dbname", into, file)
    else:
        server.program("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "--file", file, into)
    with psycopg.connect(into, autocommit=True) as opened:
        yield opened
    server.drop(name)


@pytest.mark.slow
def test_a_restored_hypertable_is_whole(
    server: Server, database: str, connection: psycopg.Connection, directory: Path
) -> None:
    if not (server.bin_dir / "pg_dump").exists():
        pytest.skip(f"pg_dump of PostgreSQL {server.version} is not there")
    _fill(connection)
    tables = ("event_data", '"Readings"', *(f"t{seed}" for seed in _SEEDS))
    queries = [
        *(f"select r::text from {name} r order by 1" for name in tables),
        *(f"select c::text from tidemill.show_chunks('{name}') c" for name in tables),
        *(f"select v::text from tidemill.{name} v order by 1" for name in ("hypertables", "chunks")),
    ]
    before = [connection.execute(query.encode()).fetchall() for query in queries]
    assert all(before)
    for kind in ("custom", "plain"):
        with _restored(server, database, kind, directory / kind) as restored:
            assert [restored.execute(query.encode()).fetchall() for query in queries] == before
            _works(restored)


def _works(connection: psycopg.Connection) -> None:
    # Packed keys are still guarded.
    for into in ("event_data", "app_rows.event_data"):
        with pytest.raises(errors.UniqueViolation):
            connection.execute(f"insert into {into} values ('2026-01-02 00:10+00', 1)".encode())
    with pytest.raises(errors.ForeignKeyViolation):
        connection.execute("delete from devices where id = 3")
    with pytest.raises(errors.InsufficientPrivilege):
        connection.execute("update event_data set value = 1")
    with pytest.raises(errors.InsufficientPrivilege):
        connection.execute("select * from event_data for update")
    added = connection.execute(
        "insert into \"Readings\" (at, device, celsius) values ('2026-01-01', 2, 100) returning id, note"
    ).fetchall()
    assert added == [(51, "x")]
    with connection.cursor().copy("copy event_data (time, device_id) from stdin") as copy:
        copy.write("2027-01-02 00:00+00\t1\n")
    assert count(connection, "select tidemill.make_chunks('event_data')") >= 1
    compress(connection)
    connection.execute(
        "create table staged (like event_data);"
        "insert into staged values ('2026-01-02 00:10+00', 1, -1), ('2026-01-02 00:11+00', 1, -1)"
    )
    connection.execute("call tidemill.decompress_backfill('staged', 'event_data')")
    assert count(connection, "select count(*) from event_data") == ROWS + 3
    assert count(connection, "select count(*) from app_rows.event_data") == 0
    for name in ("event_data", "t0", "t1"):
        before = images(connection, name)
        connection.execute(
            f"select tidemill.decompress_chunk(c) from tidemill.show_chunks('{name}') c".encode()
        )
        assert images(connection, name) == before
    connection.execute(
        "select tidemill.drop_chunks('event_data', older_than => timestamptz '2026-01-03 00:00+00')"
    )
    assert count(connection, "select count(*) from event_data") == ROWS // 2 + 1
    # A new hypertable gets a number of its own.
    connection.execute(
        "create table fresh (at timestamptz); select tidemill.create_hypertable('fresh', 'at')"
    )
