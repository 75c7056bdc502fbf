"""Policies that order and move old chunks."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.hypertables.calls import make, refused, run, value, values
from tests.hypertables.packed import DEVICES, ROWS, compress, count
from tests.support.running import eventually, running
from tests.support.servers import Server
from tests.support.tablespaces import CLOSED, COLD, ODD, make_tablespaces
from tidemill import App

PLACES = (
    "select coalesce(chunk_tablespace, '-')::text from tidemill.chunks"
    " where range_start < '2026-02-01Z' order by range_start"
)
ORDERED = (
    "select c.number from tidemill._chunks c join pg_index i on i.indrelid = c.relation"
    " where i.indisclustered order by c.range_start"
)


@pytest.fixture
def devices(server: Server, connection: psycopg.Connection) -> psycopg.Connection:
    """Chunks 3 to 6 are days in January, 1 is today's, 2 tomorrow's."""
    make_tablespaces(server)
    connection.execute(DEVICES)
    return connection


@pytest.fixture
def said(devices: psycopg.Connection) -> list[Any]:
    told: list[Any] = []
    devices.add_notice_handler(lambda notice: told.append((notice.severity, notice.message_primary)))
    return told


def call(connection: psycopg.Connection, policy: int) -> None:
    connection.execute("call tidemill.run_action(%s)", [policy])


def order(connection: psycopg.Connection, arguments: str = "'event_data_pkey'") -> int:
    return int(count(connection, f"select tidemill.add_reorder_policy('event_data', {arguments})"))


def tier(connection: psycopg.Connection, days: int, tablespace: str = ODD) -> int:
    """A policy for what ended so many days before the newest chunk of January did."""
    age = f"(now() - timestamptz '2026-01-05 00:00Z') + interval '{days} days'"
    return int(count(connection, f"select tidemill.add_tiering_policy('event_data', {age}, '{tablespace}')"))


async def test_a_worker_runs_them(database: str, devices: psycopg.Connection) -> None:
    ids = [order(devices), tier(devices, 2)]
    ended = "select outcome from tidemill.action_history where action_id = any(%s) and outcome is not null"
    async with App(database) as app, running(app):
        await eventually(lambda: devices.execute(ended, [ids]).rowcount == 2, "both policies to run")
    assert devices.execute(ended, [ids]).fetchall() == [("success",)] * 2
    assert values(devices, PLACES) == [ODD, ODD, "-", "-"]
    assert values(devices, ORDERED) == [3, 4]
    assert count(devices, "select count(*) from event_data") == ROWS
    schedules = run(
        devices,
        "select name, schedule_interval::text, fixed_schedule, config from tidemill.actions"
        " where id >= 1001 order by id",
    )
    assert [row[:3] for row in schedules] == [
        ("Reorder Policy of app.event_data", "12:00:00", False),
        ("Tiering Policy of app.event_data", "1 day", False),
    ]
    assert schedules[0][3] == {"hypertable_id": 1, "index_name": "event_data_pkey"}
    assert schedules[1][3]["tablespace"] == ODD


# Order


def test_each_old_chunk_is_ordered_once(devices: psycopg.Connection, said: list[Any]) -> None:
    policy = order(devices)
    call(devices, policy)
    # Those of today and of the two days before are left alone; tomorrow's has not begun.
    assert said == [("NOTICE", f"chunk app_chunks._hyper_1_{n}_chunk reordered") for n in (3, 4)]
    first = values(devices, "select device_id from app_chunks._hyper_1_3_chunk order by ctid limit 144")
    assert first == [1] * 144
    call(devices, policy)
    assert len(said) == 2
    # Another index orders them anew.
    devices.execute(
        'select tidemill.alter_action(%s, config_merge => \'{"index_name": "event_data_time_idx"}\')',
        [policy],
    )
    call(devices, policy)
    assert len(said) == 4


def test_packed_chunks_are_not_ordered(devices: psycopg.Connection) -> None:
    devices.execute("select tidemill.enable_compression('event_data', 'device_id')")
    compress(devices, before="2026-01-02 00:00+00")
    policy = order(devices)
    call(devices, policy)
    assert values(devices, ORDERED) == [4]


def test_numbers_are_ordered_from_the_newest_chunk_on(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table ticks (at bigint primary key);"
        "select tidemill.create_hypertable('ticks', 'at', chunk_time_interval => 10);"
        "insert into ticks select generate_series(0, 49); select tidemill.make_chunks('ticks')"
    )
    policy = int(count(connection, "select tidemill.add_reorder_policy('ticks', 'ticks_pkey')"))
    call(connection, policy)
    assert values(connection, ORDERED) == [1, 2]
    assert value(connection, f"select schedule_interval::text from tidemill.actions where id = {policy}") == (
        "4 days"
    )


def test_a_locked_chunk_is_left_for_the_next_run(devices: psycopg.Connection, said: list[Any]) -> None:
    devices.execute("alter function tidemill._lock_table(regclass, text) set lock_timeout = '20ms'")
    ids = [order(devices), tier(devices, 2)]
    with psycopg.connect(devices.info.dsn) as reader:
        reader.execute("select from app_chunks._hyper_1_3_chunk")
        for policy in ids:
            call(devices, policy)
    locked = ("WARNING", "chunk app_chunks._hyper_1_3_chunk is locked, and left for the next run")
    assert said.count(locked) == 2
    assert values(devices, ORDERED) == [4]
    assert values(devices, PLACES) == ["-", ODD, "-", "-"]
    for policy in ids:
        call(devices, policy)
    assert values(devices, ORDERED) == [3, 4]
    assert values(devices, PLACES) == [ODD, ODD, "-", "-"]


def test_a_chunk_that_is_dropped_meanwhile(devices: psycopg.Connection) -> None:
    gone = "app_chunks._hyper_1_3_chunk"
    [(oid,)] = run(devices, f"select '{gone}'::regclass::oid::text")
    devices.execute("select tidemill.drop_chunks('event_data', timestamptz '2026-01-02Z')")
    call_move = "select is_done, failure ->> 'code' from tidemill._call_if_free('{}', {})"
    moving = f"'select tidemill.move_chunk({oid}, ''{ODD}'')'"
    assert run(devices, call_move.format(oid, moving)) == [(False, None)]
    there = "app_chunks._hyper_1_4_chunk"
    moving = f"'select tidemill.move_chunk(''{there}'', ''nowhere'')'"
    assert run(devices, call_move.format(there, moving)) == [(False, "42704")]


# Tiering


def test_what_is_there_is_not_moved_again(devices: psycopg.Connection, said: list[Any]) -> None:
    policy = tier(devices, 2)
    call(devices, policy)
    assert [told for _, told in said] == [f"chunk app_chunks._hyper_1_{n}_chunk moved" for n in (3, 4)]
    call(devices, policy)
    assert len(said) == 2
    devices.execute("select tidemill.remove_tiering_policy('event_data')")
    # The database's own, by its name.
    call(devices, tier(devices, 3, "pg_default"))
    assert values(devices, PLACES) == ["-", ODD, "-", "-"]


def test_each_chunk_is_a_transaction(devices: psycopg.Connection) -> None:
    policy = tier(devices, 0)
    devices.execute(
        "create or replace function tidemill._check_tablespace(tablespace name, holder regrole) returns void"
        " language plpgsql as $$ begin if exists (select from tidemill.chunks c where c.number = 4"
        " and c.chunk_tablespace = 'odd place') then raise exception 'full'; end if; end $$"
    )
    with pytest.raises(psycopg.errors.RaiseException, match="full"):
        call(devices, policy)
    assert values(devices, PLACES) == [ODD, ODD, "-", "-"]


def test_a_tablespace_that_is_closed_fails_the_run(devices: psycopg.Connection) -> None:
    policy = tier(devices, 2)
    devices.execute(
        'select tidemill.alter_action(%s, config_merge => \'{"tablespace": "closed"}\')', [policy]
    )
    with refused("42501", f'permission denied for tablespace "{CLOSED}"'):
        call(devices, policy)


# Both


@pytest.mark.parametrize(
    ("kind", "first", "other"),
    [
        ("reorder", "'event_data_pkey'", "'event_data_time_idx'"),
        ("tiering", f"interval '1 day', '{ODD}'", f"interval '1 day', '{COLD}'"),
    ],
)
def test_there_is_one_of_each(
    devices: psycopg.Connection, said: list[Any], kind: str, first: str, other: str
) -> None:
    add = f"select tidemill.add_{kind}_policy('event_data', {{}})"
    policy = int(value(devices, add.format(first)))
    with refused("42710", f'{kind} policy already exists for hypertable "event_data"'):
        run(devices, add.format(first))
    assert value(devices, add.format(first + ", if_not_exists => true")) == -1
    assert value(devices, add.format(other + ", if_not_exists => true")) == -1
    exists = f'{kind} policy already exists for hypertable "event_data"'
    assert said == [("NOTICE", f"{exists}, skipping"), ("WARNING", exists)]
    run(devices, f"select tidemill.remove_{kind}_policy('event_data')")
    with refused("42704", f"{kind} policy not found"):
        run(devices, f"select tidemill.remove_{kind}_policy('event_data')")
    run(devices, f"select tidemill.remove_{kind}_policy('event_data', if_exists => true)")
    fixed = int(
        value(devices, add.format(first + ", initial_start => '2100-01-01Z', timezone => 'Asia/Tokyo'"))
    )
    assert fixed > policy
    assert run(devices, f"select fixed_schedule, timezone from tidemill.actions where id = {fixed}") == [
        (True, "Asia/Tokyo")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("reorder_policy('event_data', 'nothing')", "42704", '"nothing" is not an index'),
        ("reorder_policy('event_data', null)", "42704", "is not an index"),
        ("reorder_policy('event_data', 'by_hash')", "42704", '"by_hash" is not an index'),
        ("reorder_policy('event_data', '_hyper_1_3_chunk_pkey')", "42704", "is not an index"),
        ("reorder_policy('pg_class', 'pg_class_oid_index')", "TS001", "is not a hypertable"),
        (f"tiering_policy('event_data', null::interval, '{ODD}')", "22023", 'need to specify "move_after"'),
        (f"tiering_policy('event_data', 'soon', '{ODD}')", "22023", '"soon" does not fit'),
        (f"tiering_policy('event_data', interval '-1 day', '{ODD}')", "22023", "lies ahead"),
        ("tiering_policy('event_data', interval '1 day', 'nowhere')", "42704", "does not exist"),
        (f"tiering_policy('event_data', interval '1 day', '{CLOSED}')", "42501", "permission denied"),
        (f"tiering_policy('pg_class', interval '1 day', '{ODD}')", "TS001", "is not a hypertable"),
    ],
)
def test_mistakes_are_told(devices: psycopg.Connection, arguments: str, code: str, message: str) -> None:
    run(devices, "create index by_hash on app.event_data using hash (device_id)")
    with refused(code, message):
        run(devices, f"select tidemill.add_{arguments}")


def test_a_role_that_owns_a_table_may_have_both(server: Server, devices: psycopg.Connection) -> None:
    with server.role() as name:
        run(
            devices,
            f"select tidemill.grant_hypertables('{name}'), tidemill.grant_actions('{name}');"
            "create schema own; create schema own_chunks",
        )
        with server.superuser(devices.info.dbname) as superuser:
            superuser.execute(
                f"alter schema own owner to {name}; alter schema own_chunks owner to {name};"
                f"grant create on tablespace {COLD} to {name}".encode()
            )
        with psycopg.connect(make_conninfo(devices.info.dsn, user=name), autocommit=True) as own:
            run(own, "create table own.m (at integer primary key);")
            make(own, "'own.m', 'at', chunk_time_interval => 10")
            run(own, "insert into own.m select generate_series(0, 59); select tidemill.make_chunks('own.m')")
            call(own, int(value(own, "select tidemill.add_reorder_policy('own.m', 'm_pkey')")))
            call(own, int(value(own, f"select tidemill.add_tiering_policy('own.m', 29, '{COLD}')")))
            assert values(devices, ORDERED) == [1, 2, 3]
            # The newest is 59: those that end at 30 or before.
            assert values(
                own, "select chunk_tablespace from tidemill.chunks where hypertable_id = 2 order by number"
            ) == [COLD, COLD, COLD, None, None, None]
            run(
                own, "select tidemill.remove_reorder_policy('own.m'), tidemill.remove_tiering_policy('own.m')"
            )
        with server.superuser() as superuser:
            superuser.execute(f"revoke create on tablespace {COLD} from {name}".encode())


def test_policies_go_with_their_table(devices: psycopg.Connection) -> None:
    ids = [order(devices), tier(devices, 2)]
    devices.execute("drop table event_data")
    for policy in ids:
        call(devices, policy)
    assert values(devices, "select id from tidemill.actions where id >= 1001") == []
