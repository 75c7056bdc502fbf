"""Policies: actions that drop and compress old chunks."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.hypertables.packed import DEVICES, ROWS, compress, count
from tests.support.running import eventually, running
from tidemill import App

COMPRESSED = "select count(*) from tidemill._chunks where is_compressed"


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(DEVICES)
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    return connection


def add(connection: psycopg.Connection, kind: str, arguments: str) -> int:
    return int(count(connection, f"select tidemill.add_{kind}_policy('event_data', {arguments})"))


async def ran(connection: psycopg.Connection, policy: int) -> None:
    """Waits until a worker has run a policy, and it ended well."""
    ended = "select outcome from tidemill.action_history where action_id = %s and outcome is not null"
    await eventually(lambda: connection.execute(ended, [policy]).rowcount == 1, "the policy to run")
    assert connection.execute(ended, [policy]).fetchall() == [("success",)]


async def test_old_chunks_are_compressed_and_dropped_on_schedule(
    database: str, devices: psycopg.Connection
) -> None:
    # Days from the newest chunk's end on: two are older than the first limit, one is older than the second.
    age = "(now() - timestamptz '2026-01-05 00:00+00')"
    async with App(database) as app, running(app):
        await ran(
            devices, add(devices, "compression", f"compress_after => {age} + interval '1 day 12 hours'")
        )
        await ran(devices, add(devices, "retention", f"drop_after => {age} + interval '2 days 12 hours'"))
    assert count(devices, COMPRESSED) == 1
    assert count(devices, "select count(*) from event_data") == ROWS - 720
    assert count(devices, "select count(*) from app_rows.event_data") == 2 * 720
    assert count(devices, "select min(time)::date::text from event_data") == "2026-01-02"


def test_dropping_takes_packed_rows_too(devices: psycopg.Connection) -> None:
    compress(devices, before="2026-01-03 00:00+00")
    policy = add(devices, "retention", "drop_after => now() - timestamptz '2026-01-02 12:00+00'")
    devices.execute("call tidemill.run_action(%s)", [policy])
    assert count(devices, "select count(*) from event_data") == ROWS - 720
    assert count(devices, "select count(distinct _chunk) from app_chunks._hyper_1_segments") == 1


def test_rows_that_came_since_are_packed_by_the_next_run(devices: psycopg.Connection) -> None:
    policy = add(devices, "compression", "'1 day'")
    for _ in range(2):
        devices.execute("call tidemill.run_action(%s)", [policy])
        assert count(devices, "select count(*) from app_rows.event_data") == 0
        devices.execute("insert into event_data (time, device_id) values (%s, 1)", ["2026-01-02 00:05+00"])
        devices.execute("delete from app_rows.event_data")
    assert count(devices, COMPRESSED) == 4


def test_whole_numbers_count_from_the_newest_row(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table ticks (at bigint not null, value integer);"
        "select tidemill.create_hypertable('ticks', 'at', chunk_time_interval => 100);"
        "insert into ticks select n, n from generate_series(0, 999) n;"
        "select tidemill.make_chunks('ticks'); select tidemill.enable_compression('ticks')"
    )
    compresses = count(connection, "select tidemill.add_compression_policy('ticks', 499)")
    drops = count(connection, "select tidemill.add_retention_policy('ticks', 800)")
    for action in (compresses, drops):
        connection.execute("call tidemill.run_action(%s)", [action])
    # The newest is 999: chunks that end at 500 or before are packed, those that end at 199 or before dropped.
    assert count(connection, "select min(at) from ticks") == 100
    assert count(connection, "select min(at) from app_rows.ticks") == 500


@pytest.mark.parametrize("kind", ["retention", "compression"])
def test_there_is_one_of_each(devices: psycopg.Connection, kind: str) -> None:
    notices: list[tuple[Any, Any]] = []
    devices.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
    policy = add(devices, kind, "interval '1 day'")
    assert policy >= 1000
    with pytest.raises(psycopg.errors.DuplicateObject, match=f"{kind} policy already exists"):
        add(devices, kind, "interval '1 day'")
    assert add(devices, kind, "interval '1 day', if_not_exists => true") == -1
    assert add(devices, kind, "interval '2 days', if_not_exists => true") == -1
    said = f'{kind} policy already exists for hypertable "event_data"'
    assert notices == [("NOTICE", f"{said}, skipping"), ("WARNING", said)]
    devices.execute(f"select tidemill.remove_{kind}_policy('event_data')".encode())
    with pytest.raises(psycopg.errors.UndefinedObject, match=f"{kind} policy not found"):
        devices.execute(f"select tidemill.remove_{kind}_policy('event_data')".encode())
    devices.execute(f"select tidemill.remove_{kind}_policy('event_data', if_exists => true)".encode())
    assert add(devices, kind, "interval '1 day'") > policy


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        ("add_retention_policy('event_data')", "22023", "need to specify one of"),
        ("add_retention_policy('event_data', '1 day', drop_created_before => '1 day')", "22023", "one of"),
        ("add_retention_policy('event_data', '30')", "22023", '"30" has no unit'),
        ("add_retention_policy('event_data', 'soon')", "22023", '"soon" does not fit'),
        ("add_retention_policy('event_data', interval '-1 day')", "22023", "lies ahead"),
        ("add_retention_policy('pg_class', '1 day')", "TS001", "is not a hypertable"),
        ("add_compression_policy('event_data')", "22023", 'need to specify "compress_after"'),
        ("add_compression_policy('plain', '1 day')", "0A000", "compression is not enabled"),
    ],
)
def test_mistakes_are_told(devices: psycopg.Connection, call: str, code: str, said: str) -> None:
    devices.execute(
        "create table plain (at timestamptz not null); select tidemill.create_hypertable('plain', 'at')"
    )
    with pytest.raises(psycopg.Error, match=said) as raised:
        devices.execute(f"select tidemill.{call}".encode())
    assert raised.value.sqlstate == code


def test_policies_go_with_their_table(devices: psycopg.Connection) -> None:
    compress(devices)
    add(devices, "retention", "interval '1 day'")
    add(devices, "compression", "interval '1 day'")
    devices.execute("drop table app_rows.event_data cascade")
    policies = "select id from tidemill.actions where routine like 'tidemill.policy%'"
    ids = [action for (action,) in devices.execute(policies).fetchall()]
    assert len(ids) == 3
    for action in ids:
        devices.execute("call tidemill.run_action(%s)", [action])
    assert devices.execute(policies).fetchall() == []
    # Nothing is left of its packed rows, either.
    assert (
        count(devices, "select count(*) from pg_class where relnamespace = 'app_chunks'::regnamespace") == 0
    )
    assert count(devices, "select count(*) from pg_proc where pronamespace = 'app_chunks'::regnamespace") == 0


def run_together(connection: psycopg.Connection, actions: list[Any]) -> list[psycopg.Error]:
    """Runs actions at the same time, each in a session of its own; returns what failed."""
    failures: list[psycopg.Error] = []

    def run_one(action: int) -> None:
        with psycopg.connect(connection.info.dsn, autocommit=True) as session:
            try:
                session.execute("call tidemill.run_action(%s)", [action])
            except psycopg.Error as error:
                failures.append(error)

    threads = [threading.Thread(target=run_one, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_policies_that_are_due_together(connection: psycopg.Connection) -> None:
    """Retention and compression run beside each other, and beside whoever lays out chunks."""
    connection.execute(
        "create table q (at timestamptz primary key, v int);"
        "insert into q select now() - n * interval '1 hour', n from generate_series(1, 24 * 40) n;"
        "select tidemill.create_hypertable("
        "  'q', 'at', chunk_time_interval => interval '1 day', migrate_data => true);"
        "select tidemill.enable_compression('q')"
    )
    policies = [
        count(connection, f"select tidemill.add_{kind}_policy('q', interval '{age}')")
        for kind, age in (("compression", "2 days"), ("retention", "20 days"))
    ]
    policies += [count(connection, "select id from tidemill.actions where name like 'Chunks Policy of %'")]
    for n in range(3):
        assert run_together(connection, policies) == []
        young = "select count(*), count(distinct at) from q where at > now() - interval '19 days'"
        assert connection.execute(young.encode()).fetchall() == [(24 * 19 - 1, 24 * 19 - 1)]
        assert count(connection, COMPRESSED) >= 17
        run_again = "select tidemill.decompress_chunk(relation) from tidemill._chunks where is_compressed"
        connection.execute(run_again.encode())
        connection.execute(
            f"insert into q select at - interval '{100 * (n + 1)} days', v from q"
            " where at between now() - interval '19 days' and now() - interval '10 days'".encode()
        )


def test_policies_of_a_dropped_table_that_are_due_together(connection: psycopg.Connection) -> None:
    connection.execute(
        "create table q (at timestamptz primary key); select tidemill.create_hypertable('q', 'at');"
        "select tidemill.enable_compression('q');"
        "select tidemill.add_compression_policy('q', interval '1 day');"
        "select tidemill.add_retention_policy('q', interval '9 days'); drop table app_rows.q cascade"
    )
    ids = [
        i for (i,) in connection.execute("select id from tidemill.actions where name like '% Policy of %'")
    ]
    assert run_together(connection, ids) == []
    assert count(connection, "select count(*) from tidemill.actions where name like '% Policy of %'") == 0


def test_a_chunk_that_fails_is_not_in_the_way_of_the_others(devices: psycopg.Connection) -> None:
    """timescaledb#4610: its run fails, and says so; what can be packed is packed."""
    devices.execute(
        "create function fails() returns trigger language plpgsql as $$ begin return new; end $$;"
        'create trigger "überprüft" before insert on app_chunks._hyper_1_3_chunk'
        " for each row execute function fails()"
    )
    policy = add(devices, "compression", "interval '1 day'")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="_hyper_1_3_chunk: the trigger") as raised:
        devices.execute("call tidemill.run_action(%s)", [policy])
    assert "RENAME" in str(raised.value.diag.message_hint)
    failed = "select count(*) from tidemill._chunks where number = 3 and is_compressed"
    assert (count(devices, failed), count(devices, COMPRESSED) >= 3) == (0, True)
