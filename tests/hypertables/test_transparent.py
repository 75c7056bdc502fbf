"""Whose the name is, the view's or the table's, at first and later; and what a view of the name breaks."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.hypertables.calls import refused, run, value, values
from tests.hypertables.packed import ROWS, compress, count, images

LATE = "('2026-01-02 00:05+00', 1, 77)"


def enable(connection: psycopg.Connection, arguments: str = "") -> None:
    """Enables compression, and packs the first three days."""
    connection.execute(f"select tidemill.enable_compression('event_data', 'device_id'{arguments})".encode())
    assert len(compress(connection, before="2026-01-04 00:00+00")) == 3


def kind(connection: psycopg.Connection, name: str) -> Any:
    return value(connection, f"select (select relkind from pg_class where oid = to_regclass('{name}'))")


def test_the_name_stays_the_table_s(devices: psycopg.Connection) -> None:
    before = images(devices)
    enable(devices, ", transparent => false")
    assert (kind(devices, "event_data"), kind(devices, "event_data_all")) == ("p", "v")
    assert value(devices, "select to_regnamespace('app_rows')") is None
    assert count(devices, "select count(*) from event_data") == 720
    assert images(devices, "event_data_all") == before
    # What a view cannot do.
    upsert = f"insert into event_data values {LATE} on conflict (device_id, time) do update set value = 78"
    for _ in range(2):
        devices.execute(upsert.encode())
    assert values(devices, "select value from event_data where device_id = 1 and value > 70 for update") == [
        78
    ]
    with pytest.raises(errors.UniqueViolation):
        devices.execute("insert into event_data values ('2026-01-02 00:00+00', 1, 0)")
    assert count(devices, "select count(*) from event_data_all") == ROWS + 1
    # Both names are the hypertable's.
    for name in ("event_data", "event_data_all"):
        assert len(values(devices, f"select tidemill.show_chunks('{name}')")) >= 4
    assert run(devices, "select hypertable_schema, hypertable_name from tidemill.hypertables") == [
        ("app", "event_data")
    ]
    devices.execute("select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed")
    assert count(devices, "select count(*) from event_data") == ROWS + 1


def test_deleting_where_the_name_is_the_table_s(devices: psycopg.Connection) -> None:
    enable(devices, ", transparent => false")
    packed = "device_id = 1 and time = '2026-01-02 00:10+00'"
    assert devices.execute(f"delete from event_data where {packed}".encode()).rowcount == 0
    assert devices.execute(f"delete from event_data_all where {packed}".encode()).rowcount == 1
    assert count(devices, "select count(*) from event_data_all") == ROWS - 1


def test_a_name_of_63_letters_has_a_view_of_all_rows(connection: psycopg.Connection) -> None:
    name = "n" * 63
    connection.execute(
        f"create table {name} (at timestamptz not null); insert into {name} values ('2026-01-01 00:00+00');"
        f"select tidemill.create_hypertable('{name}', 'at', migrate_data => true);"
        f"select tidemill.enable_compression('{name}', transparent => false)".encode()
    )
    compress(connection, name)
    [view] = values(connection, "select view::text from tidemill._hypertables")
    assert view == "n" * 59 + "_all"
    assert count(connection, f"select count(*) from {view}") == 1
    assert count(connection, f"select count(*) from {name}") == 0


def test_turning_it_round_keeps_all_rows(devices: psycopg.Connection) -> None:
    enable(devices)
    devices.execute(f"insert into event_data values {LATE}".encode())
    before = images(devices)
    assert value(devices, "select tidemill.set_transparent('event_data', false)::text") == "event_data_all"
    assert (kind(devices, "event_data"), kind(devices, "app_rows.event_data")) == ("p", None)
    assert images(devices, "event_data_all") == before
    assert count(devices, "select count(*) from event_data") == 721
    for function in ("event_data_between('-infinity', 'infinity')", "event_data_recent('100 years')"):
        assert images(devices, function) == before
    assert (
        value(devices, "select tidemill.set_transparent('event_data_all', true, 'loose rows')::text")
        == "event_data"
    )
    assert (kind(devices, "event_data"), kind(devices, '"loose rows".event_data')) == ("v", "p")
    assert kind(devices, "event_data_all") is None
    assert images(devices) == before
    assert images(devices, "event_data_between('-infinity', 'infinity')") == before
    compress(devices)
    assert images(devices) == before
    with pytest.raises(errors.UniqueViolation):
        devices.execute(f"insert into event_data values {LATE}".encode())


def test_prepared_statements_go_on(devices: psycopg.Connection) -> None:
    enable(devices)
    with psycopg.connect(devices.info.dsn, autocommit=True) as other:
        other.execute("prepare reading as select count(*) from event_data")
        other.execute("prepare adding (timestamptz) as insert into event_data values ($1, 9, 9)")
        for _ in range(6):
            assert value(other, "execute reading") == ROWS
        other.execute("execute adding ('2026-01-02 00:00+00')")
        devices.execute("select tidemill.set_transparent('event_data', false)")
        other.execute(
            "prepare upserting (timestamptz) as insert into event_data values ($1, 8, 8)"
            " on conflict (device_id, time) do update set value = excluded.value"
        )
        assert value(other, "execute reading") == 721
        other.execute("execute adding ('2026-01-02 00:10+00')")
        other.execute("execute upserting ('2026-01-02 00:10+00')")
        devices.execute("select tidemill.set_transparent('event_data', true)")
        assert value(other, "execute reading") == ROWS + 3
        other.execute("execute adding ('2026-01-02 00:20+00')")
        with pytest.raises(errors.FeatureNotSupported):
            other.execute("execute upserting ('2026-01-02 00:20+00')")
        other.execute("set search_path = app_rows, app")
        other.execute("execute upserting ('2026-01-02 00:20+00')")
    assert count(devices, "select count(*) from event_data where device_id > 7") == 5


def test_what_depends_on_the_view_keeps_it(devices: psycopg.Connection) -> None:
    enable(devices)
    devices.execute("create view daily as select time::date, count(*) from event_data group by 1")
    with refused("2BP01", 'other objects depend on the view "app.event_data": view app.daily'):
        devices.execute("select tidemill.set_transparent('event_data', false)")
    assert kind(devices, "event_data") == "v"
    assert count(devices, "select sum(count) from daily") == ROWS


def test_what_is_so_already_is_a_notice(devices: psycopg.Connection) -> None:
    enable(devices)
    told: list[str] = []
    devices.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    devices.execute("select tidemill.set_transparent('event_data', true)")
    assert told == ['"event_data" is so already']


@pytest.mark.parametrize(
    ("call", "sqlstate", "message"),
    [
        ("set_transparent('event_data', false)", "0A000", "compression is not enabled"),
        ("set_transparent('pg_class', false)", "TS001", "is not a hypertable"),
    ],
)
def test_mistakes_are_told(devices: psycopg.Connection, call: str, sqlstate: str, message: str) -> None:
    with refused(sqlstate, message):
        devices.execute(f"select tidemill.{call}".encode())


def test_neither_true_nor_false_is_refused(devices: psycopg.Connection) -> None:
    enable(devices)
    with refused("22004", "transparent cannot be NULL"):
        devices.execute("select tidemill.set_transparent('event_data', null)")


BROKEN = [
    (
        "create function keep_event(d integer) returns void language plpgsql as"
        " $$ begin insert into event_data values (now(), d) on conflict do nothing; end $$",
        "the function app.keep_event(integer), which upserts, merges or locks rows",
    ),
    (
        "create function take_event() returns setof integer language sql as"
        " 'select device_id from app.event_data for update skip locked'",
        "the function app.take_event(), which upserts, merges or locks rows",
    ),
    ("create view seen as select * from event_data", "view app.seen"),
    ("grant select (time) on event_data to public", 'the grants on the column "time"'),
]


@pytest.mark.parametrize(("before", "named"), BROKEN)
def test_what_a_view_of_the_name_breaks_is_told(devices: psycopg.Connection, before: str, named: str) -> None:
    devices.execute(before.encode())
    with refused("0A000", named):
        enable(devices)
    assert kind(devices, "event_data") == "p"
    told: list[tuple[str | None, str | None]] = []
    devices.add_notice_handler(lambda notice: told.append((notice.severity, notice.message_primary)))
    enable(devices, ", transparent => true")
    assert [message for severity, message in told if severity == "WARNING"] == [f"this breaks: {named}"]
    assert (kind(devices, "event_data"), count(devices, "select count(*) from event_data")) == ("v", ROWS)


def test_where_the_name_stays_the_table_s_nothing_breaks(devices: psycopg.Connection) -> None:
    for before, _ in BROKEN:
        devices.execute(before.encode())
    enable(devices, ", transparent => false")
    devices.execute("select keep_event(1)")
    assert count(devices, "select count(*) from seen") == 721
    told: list[str] = []
    devices.add_notice_handler(lambda notice: told.append(str(notice.message_primary)))
    devices.execute("select tidemill.set_transparent('event_data', true)")
    [warning] = [message for message in told if message.startswith("this breaks: ")]
    assert [named for _, named in BROKEN if named not in warning] == []


def test_functions_of_other_tables_are_none_of_it(devices: psycopg.Connection) -> None:
    devices.execute(
        "create function other() returns void language plpgsql as"
        " 'begin insert into event_data_2 values (1) on conflict do nothing; end'"
    )
    enable(devices)
    assert kind(devices, "event_data") == "v"
