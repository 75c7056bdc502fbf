"""A thousand chunks, and hundreds of thousands of rows."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.packed import compress, count

pytestmark = [pytest.mark.slow, pytest.mark.versions(18)]

_PLANS = {
    "all": "select count(*) from many",
    "a day": "select count(*) from many where at >= '2002-02-01 00:00+00' and at < '2002-02-02 00:00+00'",
    "now": "select count(*) from many where at >= now() - interval '10 days'",
    "a device": "select count(*) from many where device = 3 and at >= '2002-02-01 00:00+00'",
}


def test_a_thousand_chunks(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table many (at timestamptz not null, device integer, value numeric,"
        " primary key (device, at));"
        "select tidemill.create_hypertable('many', 'at', chunk_time_interval => interval '1 day');"
        "insert into many select t, d, d from generate_series(timestamptz '2000-01-01 00:00+00',"
        "  '2002-09-26 00:00+00', '12 hours') t, generate_series(1, 3) d"
    )
    rows = count(connection, "select count(*) from many")
    assert count(connection, "select tidemill.make_chunks('many')") == 1000
    assert count(connection, "select count(*) from only app_chunks._hyper_1_default") == 0
    ranges = (
        "select count(*), count(distinct range_start), max(range_end - range_start) from tidemill._chunks"
    )
    assert connection.execute(ranges.encode()).fetchall() == [(1002, 1002, 86_400_000_000)]
    connection.execute("select tidemill.enable_compression('many', 'device')")
    assert len(compress(connection, "many", before="2000-04-10 00:00+00")) == 100
    assert count(connection, "select count(*) from many") == rows
    assert count(connection, "select count(*) from app_rows.many") == rows - 100 * 6
    for name, query in _PLANS.items():
        for excluded in ("partition", "on"):
            connection.execute(f"set constraint_exclusion = {excluded}".encode())
            plan = connection.execute(f"explain (analyze, summary) {query}".encode()).fetchall()
            print(f"{name}, constraint_exclusion = {excluded}:", *(line for (line,) in plan[-2:]))
    dropped = connection.execute(
        "select tidemill.drop_chunks('many', older_than => timestamptz '2000-07-01 00:00+00')"
    )
    assert dropped.rowcount == 182
    assert count(connection, "select count(*) from many") == rows - 182 * 6
    assert count(connection, "select min(at) = '2000-07-01 00:00+00' from many")


def test_rows_by_the_hundred_thousand_come_along(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table m (at timestamptz not null, device integer, value double precision, note text);"
        "insert into m select '2026-01-01 00:00+00'::timestamptz + n * interval '7 seconds', n % 50,"
        "  n * 0.25, case when n % 3 > 0 then 'ok' end from generate_series(0, 199999) n"
    )
    image = "select (count(*), sum(hashtextextended(r::text, 0)::numeric))::text from {} r"
    before = count(connection, image.format("m"))
    connection.execute(
        "select tidemill.create_hypertable"
        "('m', 'at', chunk_time_interval => interval '1 day', migrate_data => true)"
    )
    assert count(connection, image.format("m")) == before
    assert count(connection, "select count(*) from only app_chunks._hyper_1_default") == 0
    connection.execute("select tidemill.enable_compression('m', 'device')")
    assert len(compress(connection, "m")) == 19
    assert count(connection, "select count(*) from app_rows.m") == 0
    assert count(connection, image.format("m")) == before
    connection.execute("select tidemill.decompress_chunk(c) from tidemill.show_chunks('m') c")
    assert count(connection, image.format("app_rows.m")) == before
