"""Sessions that read, lock or change a hypertable while another one compresses, backfills or drops."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from tests.hypertables.packed import DEVICES, ROWS, compress, count, images
from tests.hypertables.steps import Waiting, arm, lay
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18)

_LATE = """
    insert into staged select t + {0} * interval '1 second', 1 + {0} % 5, -1, 'late'
      from generate_series(timestamptz '2026-01-01 00:00+00', '2026-01-03 00:00+00', '1 day') t
"""
_BACKFILL = "call tidemill.decompress_backfill('staged', 'event_data')"
_DROP = "select tidemill.drop_chunks('event_data', older_than => timestamptz '2026-01-02 00:00+00')"
_ALL = "select tidemill.{}(c) from tidemill.show_chunks('event_data') c"


@pytest.fixture
def devices(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(DEVICES + "create table staged (like event_data)")
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    return connection


class Reader:
    """Reads all days, again and again, until it is told to stop; keeps each count that it saw of a day."""

    # Of each day: rows, keys, and those that were there at first.
    QUERY = """
        select time::date::text, count(*), count(distinct (device_id, time)),
          count(*) filter (where note = 'none')
        from event_data where time < '2026-01-05 00:00+00' group by 1 order by 1
    """

    def __init__(self, conninfo: str, level: str) -> None:
        self.seen: set[tuple[str, int, int, int]] = set()
        self.reads = 0
        self.changed_within: list[object] = []
        self._level = level
        self._stop = threading.Event()
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.connection.execute("set time zone 'UTC'")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.connection.execute(f"begin isolation level {self._level}".encode())
            first = self.connection.execute(self.QUERY).fetchall()
            self.seen.update(first)
            if self._level != "read committed":
                by_device = self.connection.execute(
                    "select count(*) from event_data where device_id = any('{1,2,3,4,5}')"
                    " and time < '2026-01-05 00:00+00'"
                ).fetchall()
                if by_device[0][0] != sum(row[1] for row in first):
                    self.changed_within.append((first, by_device))
            self.connection.execute("commit")
            self.reads += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.connection.close()


@pytest.fixture
def readers(devices: psycopg.Connection) -> Iterator[list[Reader]]:
    started = [Reader(devices.info.dsn, level) for level in ("read committed", "repeatable read")]
    yield started
    for reader in started:
        reader.stop()


def test_readers_see_each_row_once_whatever_goes_on(
    devices: psycopg.Connection, readers: list[Reader]
) -> None:
    for n in range(1, 5):
        compress(devices)
        devices.execute(_LATE.format(n).encode())
        devices.execute(_BACKFILL)
        devices.execute("insert into event_data values ('2026-01-04 00:00:30+00', %s, 0, 'late')", [n])
        devices.execute(_ALL.format("compress_chunk").encode())
        devices.execute(_ALL.format("decompress_chunk").encode())
    before = [reader.reads for reader in readers]
    wait_until(
        lambda: all(reader.reads > number for reader, number in zip(readers, before, strict=True)),
        "each to read the end",
    )
    for reader in readers:
        reader.stop()
        assert reader.changed_within == []
        assert {(rows, keys, first) for _, rows, keys, first in reader.seen} <= {
            (720 + late, 720 + late, 720) for late in range(5)
        }
        # They saw the beginning, or the end at least.
        assert ("2026-01-04", 724, 724, 720) in reader.seen


def test_readers_of_what_is_dropped_see_whole_chunks(
    devices: psycopg.Connection, readers: list[Reader]
) -> None:
    compress(devices, before="2026-01-03 00:00+00")
    for day in (2, 3, 4, 5):
        devices.execute(
            "select tidemill.drop_chunks('event_data', older_than => %s::timestamptz)",
            [f"2026-01-0{day} 00:00+00"],
        )
    for reader in readers:
        reader.stop()
        assert reader.changed_within == []
        assert {row[1:] for row in reader.seen} <= {(720, 720, 720)}
    assert count(devices, "select count(*) from event_data") == 0


def _impatient(connection: psycopg.Connection) -> None:
    """What waits five seconds for a lock gives up at once."""
    for (name,) in connection.execute(
        "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'tidemill'::regnamespace"
        " and 'lock_timeout=5s' = any(p.proconfig)"
    ).fetchall():
        connection.execute(f"alter function {name} set lock_timeout = '50ms'".encode())


@pytest.mark.parametrize(
    "call",
    [
        "select tidemill.compress_chunk(%s)",
        "select tidemill.compress_chunk(%s, recompress => true)",
        "select tidemill.decompress_chunk(%s)",
        _DROP,
        _BACKFILL,
        "select tidemill.make_chunks('event_data')",
        "select tidemill.enable_compression('unpacked')",
    ],
)
def test_what_another_session_holds_is_given_up(devices: psycopg.Connection, call: str) -> None:
    compress(devices, before="2026-01-02 00:00+00")
    devices.execute(_LATE.format(7).encode())
    # For make_chunks and enable_compression.
    devices.execute("insert into event_data values ('2025-01-04 00:00+00', 1)")
    devices.execute(
        "create table unpacked (at timestamptz); select tidemill.create_hypertable('unpacked', 'at')"
    )
    before, staged = images(devices), images(devices, "staged")
    [(chunk,)] = devices.execute("select tidemill.show_chunks('event_data')::text limit 1").fetchall()
    states = "select is_compressed, count(*), sum(number) from tidemill._chunks group by 1 order by 1"
    chunks = devices.execute(states.encode()).fetchall()
    statement = call % f"'{chunk}'" if "%s" in call else call
    _impatient(devices)
    with psycopg.connect(devices.info.dsn) as holder:
        # An open transaction that has written there.
        holder.execute(
            "insert into app_rows.event_data values ('2026-01-01 00:00:31+00', 1);"
            "delete from app_rows.event_data where time = '2025-01-04 00:00+00';"
            "lock table unpacked in row exclusive mode"
        )
        with pytest.raises(errors.LockNotAvailable):
            devices.execute(statement.encode())
        holder.rollback()
    assert images(devices) == before
    assert images(devices, "staged") == staged
    assert devices.execute(states.encode()).fetchall() == chunks
    devices.execute(statement.encode())
    assert count(devices, "select count(*) - count(distinct (device_id, time)) from event_data") == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("compress_chunk", "compress_chunk"),
        ("compress_chunk", "decompress_chunk"),
        ("compress_chunk", "decompress_backfill"),
        ("decompress_backfill", "compress_chunk"),
        ("decompress_backfill", "decompress_chunk"),
        ("decompress_backfill", "decompress_backfill"),
        ("decompress_backfill", "drop_chunks"),
    ],
)
def test_two_sessions_with_the_same_chunk(
    devices: psycopg.Connection, superuser_conninfo: str, first: str, second: str
) -> None:
    calls = {
        "compress_chunk": _ALL.format("compress_chunk"),
        "decompress_chunk": _ALL.format("decompress_chunk"),
        "decompress_backfill": _BACKFILL,
        "drop_chunks": _DROP,
    }
    compress(devices, before="2026-01-02 00:00+00")
    devices.execute(_LATE.format(7).encode())
    devices.execute("insert into event_data values ('2026-01-01 00:00:30+00', 1)")
    expected = sorted({*images(devices), *images(devices, "staged")})
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        lay(devices, superuser, ["app_chunks._hyper_1_segments"])
    arm(devices, 3, blocks=True)
    devices.execute("select pg_advisory_lock(1)")
    one = Waiting(devices.info.dsn, calls[first])
    wait_until(one.waits(devices), "the first to be in the middle")
    other = Waiting(devices.info.dsn, calls[second])
    wait_until(other.waits(devices), "the second to wait for it")
    arm(devices, 0)
    devices.execute("select pg_advisory_unlock(1)")
    assert (one.join(), other.join()) == (None, None)
    if "backfill" not in first + second:
        devices.execute(_BACKFILL)
    found = images(devices)
    if second == "drop_chunks":
        found = [*found, *(row for row in expected if row.startswith('("2026-01-01') and row not in found)]
        assert count(devices, "select count(*) from event_data where time < '2026-01-02 00:00+00'") <= 1
    assert sorted(found) == expected
    assert images(devices, "staged") == []


def test_a_prepared_upsert_goes_on_where_the_rows_stand(connection: psycopg.Connection) -> None:
    connection.execute(DEVICES)
    upsert = sql.SQL(
        "prepare upsert (timestamptz) as insert into event_data values ($1, 1, 77)"
        " on conflict (device_id, time) do update set value = excluded.value"
    )
    late = "2026-01-04 00:05+00"
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        for session in (connection, other):
            session.execute(upsert)
            session.execute(sql.SQL("execute upsert ({})").format(late))
        connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
        compress(connection, before="2026-01-02 00:00+00")
        with pytest.raises(errors.FeatureNotSupported):
            other.execute(sql.SQL("execute upsert ({})").format(late))
        other.execute("set search_path = app_rows, app")
        for _ in range(8):
            other.execute(sql.SQL("execute upsert ({})").format(late))
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="decompress_chunk"):
            other.execute(sql.SQL("execute upsert ({})").format("2026-01-01 00:00+00"))
        connection.execute("select tidemill.decompress_chunk(c) from tidemill.show_chunks('event_data') c")
        other.execute(sql.SQL("execute upsert ({})").format("2026-01-01 00:00+00"))
    assert count(connection, "select count(*) from event_data where value = 77") == 2
    assert count(connection, "select count(*) from event_data") == ROWS + 1


def test_two_sessions_with_two_chunks(devices: psycopg.Connection) -> None:
    chunks = [
        name for (name,) in devices.execute("select tidemill.show_chunks('event_data')::text").fetchall()
    ]
    packs = "select tidemill.compress_chunk('{}')"
    with psycopg.connect(devices.info.dsn) as first:
        first.execute(packs.format(chunks[0]).encode())
        second = Waiting(devices.info.dsn, packs.format(chunks[1]))
        # The first packing of a table makes the guards' function.
        wait_until(second.waits(devices), "the second to wait for the guard")
        first.commit()
        assert second.join() is None
        first.execute(packs.format(chunks[2]).encode())
        # From then on nobody waits.
        devices.execute("set lock_timeout = '1ms'")
        devices.execute(packs.format(chunks[3]).encode())
    assert count(devices, "select count(*) from app_rows.event_data") == 0
    for day in range(1, 5):
        with pytest.raises(errors.UniqueViolation):
            devices.execute(
                "insert into event_data values (%s::timestamptz, 1)", [f"2026-01-0{day} 00:00+00"]
            )


@pytest.mark.parametrize("table", ["event_data", "app_rows.event_data"])
def test_a_reader_that_waits_sees_rows_that_get_a_chunk(devices: psycopg.Connection, table: str) -> None:
    devices.execute("insert into event_data values ('2020-01-01 00:00+00', 1), ('2020-01-03 00:00+00', 1)")
    with psycopg.connect(devices.info.dsn) as mover:
        mover.execute("select tidemill.make_chunks('event_data')")
        # It finds out which partitions there are, and must not do so too early.
        reader = Waiting(devices.info.dsn, f"select count(*) from {table}")
        wait_until(reader.waits(devices), "the reader to wait")
        mover.commit()
        assert reader.join() is None
        assert reader.rows == [(ROWS + 2,)]


def test_rows_whose_chunk_is_dropped_before_they_come(
    devices: psycopg.Connection, superuser_conninfo: str
) -> None:
    compress(devices)
    devices.execute(_LATE.format(7).encode())
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        lay(devices, superuser, ["staged"])
    arm(devices, 2, blocks=True)
    devices.execute("select pg_advisory_lock(1)")
    backfill = Waiting(devices.info.dsn, _BACKFILL)
    wait_until(backfill.waits(devices), "the backfill of the first day to be in the middle")
    # The days that come next are dropped while it begins with them.
    dropper = Waiting(
        devices.info.dsn,
        "begin; select tidemill.drop_chunks('event_data', '2026-01-04 00:00+00', '2026-01-02 00:00+00')",
    )
    wait_until(dropper.waits(devices), "the drop to wait for that day")
    arm(devices, 0)
    devices.execute("select pg_advisory_unlock(1)")
    waits = "select from pg_locks where pid = %s and not granted and locktype = 'relation'"
    wait_until(lambda: devices.execute(waits, [backfill.pid]).rowcount, "the backfill to wait for the drop")
    dropper.connection.execute("commit")
    assert (dropper.join(), backfill.join()) == (None, None)
    assert images(devices, "staged") == []
    assert count(devices, "select count(*) from event_data") == ROWS - 2 * 720 + 3
    assert count(devices, "select count(*) from only app_chunks._hyper_1_default") >= 1
