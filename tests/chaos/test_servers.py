"""Each fault of the harness really happens, and ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chaos.servers import ChaosServer, Unavailable, pgbouncer
from tests.support.programs import left_out
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@contextmanager
def _server(**wanted: Any) -> Iterator[ChaosServer]:
    try:
        server = ChaosServer(**wanted)
    except Unavailable as error:
        left_out(error)
    with server:
        yield server


def _ask(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _connect(conninfo: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, autocommit=True)


@pytest.mark.parametrize("version", [18, 16])
def test_a_server_is_durable(version: int) -> None:
    with _server(version=version) as server:
        for conninfo in (server.conninfo, server.socket_conninfo):
            with _connect(conninfo) as connection:
                assert connection.info.server_version // 10000 == version
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    assert _ask(connection, f"show {setting}") == "on"


def test_servers_are_gone_after_an_error() -> None:
    try:
        server = ChaosServer(wal_disk_mb=32)
    except Unavailable as error:
        left_out(error)
    standbys = []

    def interrupt() -> None:
        with server:
            standbys.append(server.standby())
            assert server.is_up()
            assert standbys[0].is_up()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not server.is_up()
    assert not standbys[0].is_up()
    assert not server.directory.exists()
    assert str(server.directory) not in Path("/proc/mounts").read_text()


def test_the_clock_steps_under_running_sessions_and_nothing_else_does() -> None:
    with _server(clock=True) as server, _connect(server.conninfo) as connection:

        def ahead() -> float:
            return float(_ask(connection, "select extract(epoch from clock_timestamp())")) - time.time()

        assert abs(ahead()) < 60
        server.step_clock(3600)
        assert 3540 < ahead() < 3660
        # A session's start of a statement comes from the same clock, a new session's too.
        with _connect(server.conninfo) as later:
            assert 3540 < _ask(later, "select extract(epoch from now())::float8") - time.time() < 3660
        server.step_clock(-7200)
        assert -3660 < ahead() < -3540

        connection.execute("set statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(60)")
        plan = _ask(connection, "explain (analyze, format json) select 1")
        assert 0 <= plan[0]["Execution Time"] < 10_000

        server.crash()
        with _connect(server.conninfo) as again:
            assert -3660 < _ask(again, "select extract(epoch from now())::float8") - time.time() < -3540


def test_a_crash_ends_all_sessions_and_loses_only_what_was_not_committed() -> None:
    with _server() as server, _connect(server.conninfo) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("create unlogged table passing (n int)")
        connection.execute("insert into kept values (1)")
        connection.execute("insert into passing values (1)")
        with _connect(server.conninfo) as open_one, open_one.transaction(force_rollback=True):
            open_one.execute("insert into kept values (2)")
            server.crash()
            with pytest.raises(psycopg.OperationalError):
                open_one.execute("select 1")
            open_one.close()
        with _connect(server.conninfo) as again:
            assert _ask(again, "select array_agg(n) from kept") == [1]
            assert _ask(again, "select count(*) from passing") == 0
        assert "automatic recovery in progress" in server.log.read_text()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_ends_all_sessions(mode: Any) -> None:
    with _server() as server, _connect(server.conninfo) as connection:
        server.restart(mode)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        with _connect(server.conninfo) as again:
            assert _ask(again, "select 1") == 1


def test_a_stopped_server_is_down_until_it_is_started() -> None:
    with _server() as server:
        server.stop()
        assert not server.is_up()
        server.start()
        assert server.is_up()


def test_a_full_disk_of_the_wal_takes_the_server_down_until_it_is_freed() -> None:
    with _server(wal_disk_mb=32) as server, _connect(server.conninfo) as connection:
        connection.execute("create table kept (n int, wal_end pg_lsn)")
        server.fill_wal_disk()
        committed = 0

        def insert() -> None:
            nonlocal committed
            for number in range(100_000):
                connection.execute(
                    "insert into kept values (%s, pg_logical_emit_message(true, '', repeat('x', 500000)))",
                    [number],
                )
                committed += 1

        with pytest.raises(psycopg.Error):
            insert()
        wait_until(server.wal_is_full, "the server to end")

        server.free_wal_disk()

        with _connect(server.conninfo) as again:
            # The last one may have been written although nobody was told.
            assert _ask(again, "select count(*) from kept") in (committed, committed + 1)
            again.execute("insert into kept values (0)")


def test_a_promoted_standby_takes_writes_and_is_found() -> None:
    with _server() as server, _connect(server.conninfo) as connection:
        connection.execute("create table kept (n int)")
        standby = server.standby()
        connection.execute("insert into kept values (1)")
        standby.catch_up()
        with _connect(standby.conninfo) as follower:
            assert _ask(follower, "select count(*) from kept") == 1
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                follower.execute("insert into kept values (2)")
        with _connect(server.switchable()) as found:
            assert found.info.port == server.cluster.port

        server.kill()
        standby.promote()

        with _connect(server.switchable()) as found:
            assert found.info.port == standby.cluster.port
            found.execute("insert into kept values (2)")


def test_pgbouncer_shares_a_session_between_clients() -> None:
    with _server() as server:
        try:
            pooled = pgbouncer(server.conninfo, settings={"default_pool_size": "1"})
            with pooled as conninfo, _connect(conninfo) as one, _connect(conninfo) as other:
                assert _ask(one, "select pg_backend_pid()") == _ask(other, "select pg_backend_pid()")
        except Unavailable as error:
            left_out(error)


def test_faults_that_a_server_was_not_made_for_are_refused() -> None:
    with _server() as server:
        with pytest.raises(ValueError, match="clock=True"):
            server.step_clock(1)
        with pytest.raises(ValueError, match="wal_disk_mb"):
            server.fill_wal_disk()
