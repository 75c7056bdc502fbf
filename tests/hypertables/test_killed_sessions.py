"""A session ends at any step of compressing or backfilling: nothing is lost or doubled, and others go on."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psycopg
import pytest

from tests.hypertables.packed import DEVICES, ROWS, compress, count, images
from tests.hypertables.steps import Waiting, arm, dies, lay, lay_commits
from tests.support.servers import TEMPLATE, Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.versions(18)

SEGMENTS = "app_chunks._hyper_1_segments"
_DAYS = "select c from tidemill.show_chunks('event_data', older_than => timestamptz '2026-01-03 00:00+00') c"
_STAGE = """
    truncate staged;
    insert into staged select t + {} * interval '1 second', 3, -1, 'late'
      from generate_series(timestamptz '2026-01-01 00:00+00', '2026-01-02 00:00+00', '1 day') t
"""
_BACKFILL = "call tidemill.decompress_backfill('staged', 'event_data')"


@pytest.fixture
def watched(connection: psycopg.Connection, superuser_conninfo: str) -> psycopg.Connection:
    """A hypertable in which each step of a session can be its last."""
    _make(connection, superuser_conninfo)
    return connection


def _make(connection: psycopg.Connection, superuser_conninfo: str) -> None:
    connection.execute(DEVICES + "create table staged (like event_data)")
    connection.execute("select tidemill.enable_compression('event_data', 'device_id')")
    with psycopg.connect(superuser_conninfo, autocommit=True) as superuser:
        lay(connection, superuser, [SEGMENTS, "staged"])
    lay_commits(connection, "staged")


def _is_lost(connection: psycopg.Connection) -> bool:
    with suppress(psycopg.OperationalError):
        connection.execute("select")
    return connection.closed


def _answers(conninfo: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(conninfo):
        return True
    return False


def _packed(connection: psycopg.Connection) -> int:
    """How many rows are packed, of how many chunks that say so."""
    number = count(connection, f"select coalesce(sum(_rows), 0) from {SEGMENTS}")
    chunks = count(connection, "select count(*) from tidemill._chunks where is_compressed")
    assert (number > 0) == (chunks > 0)
    return int(number)


@pytest.mark.parametrize(
    "call", ["compress_chunk(c)", "decompress_chunk(c)", "compress_chunk(c, recompress => true)"]
)
def test_a_session_that_ends_at_any_step_has_changed_nothing(watched: psycopg.Connection, call: str) -> None:
    if call != "compress_chunk(c)":
        compress(watched, before="2026-01-03 00:00+00")
        watched.execute("insert into event_data values ('2026-01-01 00:00:01+00', 1)")
    before = images(watched)
    packed = _packed(watched)
    step = 1
    arm(watched, step)
    while dies(watched.info.dsn, f"select tidemill.{call} from ({_DAYS}) d(c)"):
        assert images(watched) == before, step
        assert _packed(watched) == packed, step
        step += 1
        arm(watched, step)
    assert step > 6
    assert images(watched) == before
    assert _packed(watched) != packed


def test_a_backfill_that_ends_at_any_step_is_finished_by_another(watched: psycopg.Connection) -> None:
    compress(watched, before="2026-01-03 00:00+00")
    expected = set(images(watched))
    ended_with = set()
    for step in range(1, 200):
        watched.execute(_STAGE.format(step).encode())
        late = set(images(watched, "staged"))
        assert len(late) == 2
        arm(watched, step)
        died = dies(watched.info.dsn, _BACKFILL)
        arm(watched, 0)
        left = set(images(watched, "staged"))
        found = images(watched)
        assert len(found) == len(set(found)), step
        # Each staged row is in one of both.
        assert set(found) == expected | (late - left), step
        ended_with.add(len(left))
        expected |= late
        watched.execute(_BACKFILL.encode())
        assert (set(images(watched)), images(watched, "staged")) == (expected, []), step
        loose = "select count(*) from app_rows.event_data where time < '2026-01-03 00:00+00'"
        assert count(watched, loose) == 0, step
        if not died:
            break
    assert step > 10
    # Both before and behind the first commit.
    assert ended_with == {2, 1, 0}


@pytest.mark.slow
@pytest.mark.parametrize("act", ["compress", "decompress", "backfill"])
def test_a_server_process_that_is_killed(own_server: Server, act: str) -> None:
    name = own_server.clone(TEMPLATE)
    conninfo = own_server.conninfo(name)
    with own_server.superuser() as superuser:
        superuser.execute(f"alter database {name} set synchronous_commit = on".encode())
    steps = {"compress": 4, "decompress": 3, "backfill": 18}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        _make(connection, own_server.conninfo(name, "postgres"))
        if act != "compress":
            compress(connection, before="2026-01-03 00:00+00")
        connection.execute(_STAGE.format(1).encode())
        before = images(connection)
        late = images(connection, "staged")
        arm(connection, steps[act], blocks=True)
        holder = psycopg.connect(conninfo)
        holder.execute("select pg_advisory_lock(1)")
        call = _BACKFILL if act == "backfill" else f"select tidemill.{act}_chunk(c) from ({_DAYS}) d(c)"
        waiting = Waiting(conninfo, call)
        wait_until(waiting.waits(connection), "it to come to the step")
        os.kill(waiting.pid, signal.SIGKILL)
        assert isinstance(waiting.join(), psycopg.OperationalError)
        # The server ends all sessions before it recovers.
        wait_until(lambda: _is_lost(holder), "the others to be ended")

    wait_until(lambda: _answers(conninfo), "the server to recover")
    with psycopg.connect(conninfo, autocommit=True) as again:
        left = images(again, "staged")
        assert images(again) == sorted([*before, *(row for row in late if row not in left)])
        assert len(left) == (1 if act == "backfill" else 2)
        arm(again, 0)
        again.execute(call.encode())
        assert images(again) == sorted([*before, *late] if act == "backfill" else before)
        assert count(again, "select count(distinct (device_id, time)) from event_data") == (
            ROWS + (2 if act == "backfill" else 0)
        )
        assert (_packed(again) == 0) == (act == "decompress")
