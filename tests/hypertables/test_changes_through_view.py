"""DELETE and UPDATE through the view: they bring packed rows back, and tell rows apart by their key."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from tests.hypertables.calls import refused, run, values
from tests.hypertables.packed import DEVICES, ROWS, compress, count, images
from tests.support.waiting import wait_until

PACKED = "device_id = 2 and time = '2026-01-02 00:10+00'"
PLAIN = "device_id = 2 and time = '2026-01-04 00:10+00'"
MIXED = "device_id = 2 and time between '2026-01-03 23:00+00' and '2026-01-04 01:00+00'"


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(DEVICES)
    connection.execute(
        "alter table event_data add column twice double precision generated always as (value * 2) stored"
    )
    return connection


def enable(connection: psycopg.Connection, arguments: str = "") -> psycopg.Connection:
    """Enables compression, and packs the first three days."""
    connection.execute(f"select tidemill.enable_compression('event_data', 'device_id'{arguments})".encode())
    assert len(compress(connection, before="2026-01-04 00:00+00")) == 3
    return connection


def packed_rows(connection: psycopg.Connection) -> int:
    return int(count(connection, "select sum(_rows) from app_chunks._hyper_1_segments"))


@pytest.mark.parametrize(
    ("where", "rows", "brought_back"), [(PACKED, 1, 144), (PLAIN, 1, 0), (MIXED, 13, 144)]
)
def test_deleting(devices: psycopg.Connection, where: str, rows: int, brought_back: int) -> None:
    doomed = images(devices, f"(select * from event_data where {where})")
    left = images(devices, f"(select * from event_data where not ({where}))")
    enable(devices)
    told = run(devices, f"delete from event_data where {where} returning event_data::text")
    assert sorted(text for (text,) in told) == doomed
    assert len(doomed) == rows
    assert images(devices) == left
    # Of the segments that have such a row, and no others.
    assert packed_rows(devices) == ROWS * 3 // 4 - brought_back
    assert devices.execute(f"delete from event_data where {where}".encode()).rowcount == 0
    compress(devices)
    assert images(devices) == left
    assert packed_rows(devices) == ROWS - rows


@pytest.mark.parametrize(("where", "rows"), [(PACKED, 1), (PLAIN, 1), (MIXED, 13)])
def test_updating(devices: psycopg.Connection, where: str, rows: int) -> None:
    same = images(devices, f"(select * from event_data where not ({where}))")
    enable(devices, ", updatable => true")
    told = run(
        devices, f"update event_data set value = 50, note = null where {where} returning value, note, twice"
    )
    assert told == [(50, None, 100)] * rows
    assert images(devices, f"(select * from event_data where not ({where}))") == same
    assert count(devices, "select count(*) from event_data where twice = 100") == rows
    compress(devices)
    assert count(devices, f"select count(*) from event_data where value = 50 and {where}") == rows


def test_a_row_that_moves_to_another_chunk_or_to_a_taken_key(devices: psycopg.Connection) -> None:
    enable(devices, ", updatable => true")
    devices.execute(f"update event_data set time = '2026-01-03 00:05+00' where {PACKED}".encode())
    assert count(devices, f"select count(*) from event_data where {PACKED}") == 0
    with pytest.raises(errors.UniqueViolation):
        devices.execute(
            "update event_data set time = '2026-01-03 00:10+00' where time = '2026-01-03 00:05+00'"
        )
    assert count(devices, "select count(*) from event_data") == ROWS
    assert count(devices, "select count(distinct (device_id, time)) from event_data") == ROWS


def test_triggers_on_rows_see_them(devices: psycopg.Connection) -> None:
    devices.execute(
        "create table seen (what text, device integer, at timestamptz);"
        "create function see() returns trigger language plpgsql as"
        " $$ begin insert into seen values (tg_op, old.device_id, old.time); return null; end $$;"
        "create trigger see after update or delete on event_data for each row execute function see()"
    )
    enable(devices, ", updatable => true")
    devices.execute(f"update event_data set value = 0 where {PACKED}".encode())
    devices.execute(f"delete from event_data where {PACKED}".encode())
    assert run(devices, "select what, device, at = '2026-01-02 00:10+00' from seen") == [
        ("UPDATE", 2, True),
        ("DELETE", 2, True),
    ]


def test_triggers_on_copied_rows_have_the_session_s_search_path(devices: psycopg.Connection) -> None:
    devices.execute(
        "create table seen (at timestamptz);"
        "create function see() returns trigger language plpgsql as"
        " $$ begin insert into seen values (new.time); return null; end $$;"
        "create trigger see after insert on event_data for each row execute function see()"
    )
    enable(devices)
    with devices.cursor().copy("copy event_data (time, device_id) from stdin") as copy:
        copy.write("2026-01-04 00:05+00\t1\n")
    assert count(devices, "select count(*) from seen") == 1


def test_a_trigger_on_insert_would_fire(devices: psycopg.Connection) -> None:
    devices.execute(
        "create function pass() returns trigger language plpgsql as 'begin return new; end';"
        "create trigger pass before insert on event_data for each row execute function pass()"
    )
    enable(devices)
    with refused("55000", "to bring them back would fire triggers"):
        devices.execute(f"delete from event_data where {PACKED}".encode())
    assert devices.execute(f"delete from event_data where {PLAIN}".encode()).rowcount == 1
    assert count(devices, "select count(*) from event_data") == ROWS - 1


def test_without_a_key_rows_cannot_be_told_apart(devices: psycopg.Connection) -> None:
    devices.execute("alter table event_data drop constraint event_data_pkey")
    enable(devices, ", updatable => true")
    for statement in ("delete from event_data", "update event_data set value = 1"):
        with refused("0A000", "packed rows of app.event_data cannot be told apart, since it has no key"):
            devices.execute(statement.encode())
    assert count(devices, "select count(*) from event_data") == ROWS


def test_a_unique_index_of_columns_that_may_be_null_is_no_key(devices: psycopg.Connection) -> None:
    devices.execute(
        "alter table event_data drop constraint event_data_pkey, alter device_id drop not null;"
        "create unique index on event_data (device_id, time)"
    )
    enable(devices)
    with refused("0A000", "it has no key"):
        devices.execute(f"delete from event_data where {PACKED}".encode())


def test_updates_are_enabled_first(devices: psycopg.Connection, superuser_conninfo: str) -> None:
    enable(devices)
    with pytest.raises(errors.InsufficientPrivilege, match="for view event_data"):
        devices.execute(f"update event_data set value = 1 where {PACKED}".encode())
    with (
        psycopg.connect(superuser_conninfo, autocommit=True) as superuser,
        refused("0A000", "UPDATE through this view is not enabled"),
    ):
        superuser.execute(f"update app.event_data set value = 1 where {PACKED}".encode())
    assert packed_rows(devices) == ROWS * 3 // 4


@pytest.fixture
def other(devices: psycopg.Connection, superuser_conninfo: str) -> Iterator[psycopg.Connection]:
    """A session of another role, which may read, delete and update."""
    role = sql.Identifier("other_of_" + devices.info.dbname)
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        superuser.execute(sql.SQL("create role {}").format(role))
        devices.execute(sql.SQL("grant usage on schema app to {}").format(role))
        try:
            superuser.execute(sql.SQL("set role {}; set search_path = app").format(role))
            devices.execute(sql.SQL("grant select, delete, update on event_data to {}").format(role))
            yield superuser
        finally:
            superuser.execute("reset role")
            superuser.execute(sql.SQL("drop owned by {0}; drop role {0}").format(role))


def test_another_role_with_grants(devices: psycopg.Connection, other: psycopg.Connection) -> None:
    enable(devices, ", updatable => true")
    assert other.execute(f"update event_data set value = 1 where {PACKED}".encode()).rowcount == 1
    assert other.execute(f"delete from event_data where {PACKED}".encode()).rowcount == 1
    assert other.execute(b"delete from event_data where time < '2026-01-02 00:00+00'").rowcount == 720
    assert count(devices, "select count(*) from event_data") == ROWS - 721


def test_another_role_without_grants(devices: psycopg.Connection, other: psycopg.Connection) -> None:
    other.execute("reset role")
    role = values(other, "select rolname from pg_roles where rolname ~ '^other_of_'")[0]
    devices.execute(sql.SQL("revoke delete, update on event_data from {}").format(sql.Identifier(role)))
    other.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    enable(devices, ", updatable => true")
    for statement in (
        f"delete from event_data where {PACKED}",
        f"update event_data set value = 1 where {PACKED}",
        "select app_chunks._hyper_1_bring_back('2026-01-02 00:00+00', 2)",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            other.execute(statement.encode())
    assert packed_rows(devices) == ROWS * 3 // 4


@pytest.mark.parametrize(
    ("second", "deleted"),
    # The same row, and another one of its segment.
    [(PACKED, 0), ("device_id = 2 and time = '2026-01-02 00:20+00'", 1)],
)
def test_two_sessions_that_delete_from_one_segment(
    devices: psycopg.Connection, second: str, deleted: int
) -> None:
    enable(devices)
    found: list[int] = []

    def delete() -> None:
        with psycopg.connect(devices.info.dsn, autocommit=True) as waiting:
            waiting.execute("set application_name = 'second'")
            found.append(waiting.execute(f"delete from event_data where {second}".encode()).rowcount)

    thread = threading.Thread(target=delete)
    with psycopg.connect(devices.info.dsn) as first:
        assert first.execute(f"delete from event_data where {PACKED}".encode()).rowcount == 1
        thread.start()
        wait_until(
            lambda: count(
                devices,
                "select count(*) from pg_stat_activity"
                " where application_name = 'second' and wait_event_type = 'Lock'",
            ),
            "the second session to wait",
        )
    thread.join()
    assert found == [deleted]
    assert count(devices, "select count(*) from event_data") == ROWS - 1 - deleted
    assert count(devices, "select count(distinct (device_id, time)) from event_data") == ROWS - 1 - deleted
