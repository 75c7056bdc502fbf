"""The order of rows in segments: how orderby is read, what it refuses, and that segments have it."""

from __future__ import annotations

import psycopg
import pytest

from tests.hypertables.calls import refused, run, values
from tests.hypertables.packed import DEVICES, compress, images


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(DEVICES)
    connection.execute('alter table event_data add column "Temp ""C" real, add column "nulls first" integer')
    return connection


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ("", [("time", 1, True, False)]),
        ("time DESC", [("time", 1, False, True)]),
        ('"time" desc nulls last', [("time", 1, False, False)]),
        ("value, time desc", [("value", 1, True, False), ("time", 2, False, True)]),
        (
            "  value   NULLS   first ,note ASC",
            [("value", 1, True, True), ("note", 2, True, False), ("time", 3, True, False)],
        ),
        ('"Temp ""C" Desc', [('Temp "C', 1, False, True), ("time", 2, True, False)]),
        ('"nulls first" desc nulls last', [("nulls first", 1, False, False), ("time", 2, True, False)]),
    ],
)
def test_the_view_of_settings_has_the_order(
    devices: psycopg.Connection, given: str, settings: list[tuple[str, int, bool, bool]]
) -> None:
    before = images(devices)
    devices.execute("select tidemill.enable_compression('event_data', 'device_id', %s)", [given])
    shown = run(
        devices,
        "select attname, orderby_column_index, orderby_asc, orderby_nullsfirst"
        " from tidemill.compression_settings where orderby_column_index is not null order by 2",
    )
    assert shown == settings
    compress(devices)
    assert images(devices) == before


@pytest.mark.parametrize(
    ("given", "sqlstate", "message"),
    [
        ("time DESCENDING", "22023", '"time DESCENDING" of orderby cannot be read'),
        ("time desc nulls", "22023", "cannot be read"),
        ("time, ", "22023", '"" of orderby cannot be read'),
        ("time desc; drop table event_data", "22023", "cannot be read"),
        ("lower(note)", "42703", 'column "lower(note)" of orderby does not exist'),
        ("devise", "42703", 'column "devise" of orderby does not exist'),
        ("time, device_id desc", "42611", 'column "device_id" cannot be in orderby: it is in segmentby'),
    ],
)
def test_orders_that_are_refused(
    devices: psycopg.Connection, given: str, sqlstate: str, message: str
) -> None:
    with refused(sqlstate, message):
        devices.execute("select tidemill.enable_compression('event_data', 'device_id', %s)", [given])
    with refused(sqlstate, message):
        devices.execute("select * from tidemill.compression_plan('event_data', 'device_id', %s)", [given])
    assert values(devices, "select compression_enabled from tidemill.hypertables") == [False]


@pytest.mark.parametrize(
    ("order", "sorted_by"),
    [("time DESC", "time desc"), ("value DESC NULLS LAST", "value desc nulls last, time")],
)
def test_rows_come_in_the_order_of_their_segment(
    connection: psycopg.Connection, order: str, sorted_by: str
) -> None:
    connection.execute(
        "create table m (time timestamptz not null, value integer);"
        "select tidemill.create_hypertable('m', 'time', chunk_time_interval => interval '1 day');"
        "insert into m select timestamptz '2026-01-01 00:00+00' + i * interval '1 minute',"
        "  nullif(i * 7 % 50, 3) from generate_series(0, 899) i; select tidemill.make_chunks('m')"
    )
    expected = run(connection, f"select * from m order by {sorted_by}")
    connection.execute("select tidemill.enable_compression('m', orderby => %s)", [order])
    compress(connection, "m")
    assert run(connection, "select * from m") == expected
    [bounds] = run(connection, "select _first, _last from app_chunks._hyper_1_segments")
    assert bounds == (min(at for at, _ in expected), max(at for at, _ in expected))
