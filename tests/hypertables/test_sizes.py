"""What hypertables take on the disk, and what compression saved."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.hypertables.calls import refused, run, value
from tests.hypertables.packed import DEVICES, ROWS, compress
from tests.support.servers import Server

pytestmark = pytest.mark.versions(18, 16)

SIZES = ("table", "index", "toast", "total")


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(DEVICES)
    # What the relations take does not change meanwhile.
    connection.execute("alter table app_chunks._hyper_1_3_chunk set (autovacuum_enabled = off)")
    connection.execute("alter table app_chunks._hyper_1_4_chunk set (autovacuum_enabled = off)")
    return connection


def found(connection: psycopg.Connection, query: str) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()


def enable(connection: psycopg.Connection) -> None:
    run(connection, "select tidemill.enable_compression('event_data', 'device_id')")


def on_disk(connection: psycopg.Connection) -> int:
    """All tables of the hypertable, as PostgreSQL sees them."""
    return int(
        value(
            connection,
            "select sum(pg_total_relation_size(oid)) from pg_class"
            " where relnamespace = 'app_chunks'::regnamespace and relkind = 'r'",
        )
    )


def stats(connection: psycopg.Connection) -> dict[str, Any]:
    [row] = found(connection, "select * from tidemill.hypertable_compression_stats('event_data')")
    return row


def by_chunk(connection: psycopg.Connection) -> list[dict[str, Any]]:
    return found(connection, "select * from tidemill.chunk_compression_stats('event_data')")


@pytest.mark.parametrize("is_packed", [False, True])
def test_all_sizes_are_those_on_the_disk(devices: psycopg.Connection, is_packed: bool) -> None:
    if is_packed:
        enable(devices)
        compress(devices, before="2026-01-04 00:00+00")
    size = value(devices, "select tidemill.hypertable_size('event_data')")
    assert size == on_disk(devices)
    [row] = found(devices, "select * from tidemill.hypertable_detailed_size('event_data')")
    assert row["table_bytes"] + row["index_bytes"] + row["toast_bytes"] == row["total_bytes"] == size
    assert row["node_name"] is None
    chunks = found(devices, "select * from tidemill.chunks_detailed_size('event_data')")
    assert [row["chunk_name"] for row in chunks] == [f"_hyper_1_{n}_chunk" for n in (3, 4, 5, 6, 1, 2)]
    # With the default partition they add up to it, but for what is rounded.
    rest = value(devices, "select pg_total_relation_size('app_chunks._hyper_1_default')")
    assert sum(row["total_bytes"] for row in chunks) + rest == pytest.approx(size, abs=len(chunks) * 3)
    for row in chunks:
        assert row["table_bytes"] + row["index_bytes"] + row["toast_bytes"] == row["total_bytes"]


def test_long_values_are_told_apart(connection: psycopg.Connection) -> None:
    run(
        connection,
        "create table app.m (at integer not null, long text);"
        "alter table app.m alter long set storage external;"
        "select tidemill.create_hypertable('app.m', 'at');"
        "insert into app.m values (1, repeat('x', 100000)); select tidemill.make_chunks('app.m')",
    )
    [row] = found(connection, "select * from tidemill.chunks_detailed_size('app.m')")
    assert row["toast_bytes"] > 100000 > row["table_bytes"] > 0


def test_an_index_in_all_chunks(devices: psycopg.Connection) -> None:
    size = value(devices, "select tidemill.hypertable_index_size('app.event_data_pkey')")
    assert size == value(
        devices,
        "select sum(pg_relation_size(oid)) from pg_class"
        " where relkind = 'i' and relname ~ '^_hyper_1_.*_pkey$'",
    )
    assert value(devices, "select tidemill.hypertable_index_size(null)") is None
    for other in ("pg_class_oid_index", "app_chunks._hyper_1_3_chunk_pkey", "app.event_data"):
        with refused("42704", "is not an index of a hypertable"):
            run(devices, f"select tidemill.hypertable_index_size('{other}')")


# Compression


def test_what_packing_saved(devices: psycopg.Connection) -> None:
    enable(devices)
    assert stats(devices) == {
        **dict.fromkeys(stats(devices)),
        "total_chunks": 6,
        "number_compressed_chunks": 0,
    }
    [before] = found(
        devices,
        "select * from tidemill.chunks_detailed_size('event_data') where chunk_name = '_hyper_1_3_chunk'",
    )
    compress(devices, before="2026-01-03 00:00+00")
    chunks = by_chunk(devices)
    assert [row["compression_status"] for row in chunks] == ["Compressed"] * 2 + ["Uncompressed"] * 4
    for size in SIZES:
        assert chunks[0][f"before_compression_{size}_bytes"] == before[f"{size}_bytes"]
        assert chunks[2][f"before_compression_{size}_bytes"] is None
        assert chunks[2][f"after_compression_{size}_bytes"] is None
    total = stats(devices)
    assert (total["total_chunks"], total["number_compressed_chunks"]) == (6, 2)
    for size in SIZES:
        for side in ("before", "after"):
            column = f"{side}_compression_{size}_bytes"
            assert total[column] == sum(row[column] for row in chunks if row[column] is not None)
    packed = value(devices, "select pg_total_relation_size('app_chunks._hyper_1_segments_0')")
    assert total["after_compression_total_bytes"] == pytest.approx(packed, abs=6)
    assert total["after_compression_total_bytes"] < total["before_compression_total_bytes"]


def test_a_chunk_with_more_has_the_greater_share(devices: psycopg.Connection) -> None:
    enable(devices)
    run(
        devices,
        "insert into event_data select timestamptz '2026-01-02 00:05Z' + n * interval '1 second', 9, random()"
        " from generate_series(1, 5000) n",
    )
    compress(devices, before="2026-01-03 00:00+00")
    less, more = (row["after_compression_total_bytes"] for row in by_chunk(devices)[:2])
    assert more > 4 * less


def test_rows_that_are_packed_later_count_as_the_others(devices: psycopg.Connection) -> None:
    enable(devices)
    compress(devices, before="2026-01-02 00:00+00")
    once = stats(devices)
    run(
        devices,
        "insert into event_data select timestamptz '2026-01-01 00:05Z' + n * interval '1 minute', 9, n"
        " from generate_series(1, 720) n",
    )
    compress(devices, before="2026-01-02 00:00+00")
    twice = stats(devices)
    for size in SIZES:
        column = f"before_compression_{size}_bytes"
        assert twice[column] == pytest.approx(2 * once[column], abs=4)
    # Packing anew changes no rows.
    run(devices, "select tidemill.compress_chunk('app_chunks._hyper_1_3_chunk', recompress => true)")
    assert stats(devices)["before_compression_total_bytes"] == twice["before_compression_total_bytes"]


def test_backfilled_rows_count_too(devices: psycopg.Connection) -> None:
    enable(devices)
    compress(devices, before="2026-01-02 00:00+00")
    once = stats(devices)
    run(
        devices,
        "create table staged (like app_rows.event_data);"
        "insert into staged select timestamptz '2026-01-01 00:05Z' + n * interval '1 minute', 9, n"
        " from generate_series(1, 720) n",
    )
    run(devices, "call tidemill.decompress_backfill('staged', 'event_data')")
    column = "before_compression_total_bytes"
    assert stats(devices)[column] == pytest.approx(2 * once[column], abs=4)


def test_after_decompression_nothing_is_told(devices: psycopg.Connection) -> None:
    enable(devices)
    [chunk] = compress(devices, before="2026-01-02 00:00+00")
    run(devices, f"select tidemill.decompress_chunk('{chunk}')")
    assert stats(devices)["number_compressed_chunks"] == 0
    assert {row["before_compression_total_bytes"] for row in by_chunk(devices)} == {None}


# Rows


def test_about_how_many_rows(devices: psycopg.Connection) -> None:
    count = "select tidemill.approximate_row_count('event_data')"
    # Without ANALYZE, by what the server has counted.
    run(devices, "select pg_stat_force_next_flush()")
    assert value(devices, count) == ROWS
    run(devices, "analyze event_data")
    assert value(devices, count) == ROWS
    enable(devices)
    compress(devices, before="2026-01-03 00:00+00")
    run(devices, "insert into event_data values ('2026-01-01 00:05Z', 7); select pg_stat_force_next_flush()")
    # What ANALYZE saw of a chunk is packed now.
    assert value(devices, count) == ROWS + 1


def test_of_other_tables(connection: psycopg.Connection) -> None:
    run(connection, "create table app.plain as select n from generate_series(1, 50) n; analyze app.plain")
    assert value(connection, "select tidemill.approximate_row_count('app.plain')") == 50
    assert value(connection, "select tidemill.hypertable_size('app.plain')") is None
    for function in (
        "hypertable_detailed_size",
        "chunks_detailed_size",
        "hypertable_compression_stats",
        "chunk_compression_stats",
    ):
        with refused("TS001", '"plain" is not a hypertable'):
            run(connection, f"select * from tidemill.{function}('app.plain')")


def test_a_reader_of_the_rows_may_ask(server: Server, devices: psycopg.Connection) -> None:
    enable(devices)
    compress(devices, before="2026-01-03 00:00+00")
    with server.role() as name:
        run(
            devices,
            f"select tidemill.grant_hypertables('{name}'); grant usage on schema app, app_chunks to {name}",
        )
        with psycopg.connect(make_conninfo(devices.info.dsn, user=name), autocommit=True) as reader:
            run(reader, "select tidemill.hypertable_size('event_data')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                stats(reader)
            run(devices, f"grant select on app_chunks._hyper_1_segments to {name}")
            assert stats(reader) == stats(devices)
