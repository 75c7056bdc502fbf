"""Runs whose worker, server process or server goes away: each is told apart, and none is forgotten."""

from __future__ import annotations

import asyncio
import os
import signal

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.actions.support import (
    BLOCKS,
    DAY,
    HOUR,
    SECOND,
    add_action,
    history,
    make_note,
    make_procedure,
    outcomes,
    state,
    until_ended,
    until_running,
)
from tests.support.processes import worker_process
from tests.support.running import eventually, run_all, running
from tests.support.servers import TEMPLATE, Server
from tidemill import App

pytestmark = pytest.mark.versions(18)


def durable(server: Server) -> str:
    """A database whose commits survive a crash of the server; those of other tests need not."""
    return make_conninfo(server.conninfo(server.clone(TEMPLATE)), options="-c synchronous_commit=on")


@pytest.mark.slow
async def test_a_killed_worker(
    app: App, connection: psycopg.Connection, database: str, lock: psycopg.Connection
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    with worker_process(database) as process:
        pid = await until_running(connection, action)
        process.signal(signal.SIGKILL)
        process.wait()
    # The survivor finds the run in seconds, and ends its server process, whose client is gone.
    async with running(app, heartbeat_interval=0.1):
        run = await until_ended(connection, action)
    assert run["outcome"] == "worker_lost"
    assert run["message"].endswith("was lost: killed, crashed, or cut off from the database")
    assert connection.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall() == []
    found = state(connection, action)
    assert (found["total_crashes"], found["consecutive_crashes"], found["run_id"]) == (1, 1, None)
    # Within the failure formula's first step, not at the next day's slot.
    assert found["next_start"] < run["finished_at"] + HOUR


@pytest.mark.slow
async def test_an_explicit_next_start_holds_after_a_crash(
    app: App, connection: psycopg.Connection, database: str, lock: psycopg.Connection
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    with worker_process(database) as process:
        await until_running(connection, action)
        connection.execute("select tidemill.alter_action(%s, next_start => now())", [action])
        process.signal(signal.SIGKILL)
        process.wait()
    lock.execute("select pg_advisory_unlock(7)")
    async with running(app, heartbeat_interval=0.1):
        await eventually(lambda: outcomes(connection, action) == ["worker_lost", "success"], "the next run")


@pytest.mark.slow
async def test_a_stopped_worker_that_comes_back(
    app: App,
    connection: psycopg.Connection,
    database: str,
    lock: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 0.1)
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    with worker_process(database, lease=1.0) as process:
        await until_running(connection, action)
        process.signal(signal.SIGSTOP)
        async with running(app, heartbeat_interval=0.1):
            run = await until_ended(connection, action)
            process.signal(signal.SIGCONT)
            # Its own view of that run comes too late, and changes nothing.
            await asyncio.to_thread(process.wait_log, "its end had already been recorded")
    assert run["outcome"] == "worker_lost"
    assert outcomes(connection, action) == ["worker_lost"]


async def test_a_terminated_backend(
    app: App, connection: psycopg.Connection, lock: psycopg.Connection
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    async with running(app):
        pid = await until_running(connection, action)
        connection.execute("select pg_terminate_backend(%s)", [pid])
        run = await until_ended(connection, action)
    assert run["outcome"] == "backend_terminated"
    assert run["message"] == "terminating connection due to administrator command"
    found = state(connection, action)
    assert (found["total_failures"], found["total_crashes"]) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fast", "immediate", "crash"])
async def test_a_restarted_server(own_server: Server, way: str) -> None:
    database = durable(own_server)
    watcher = psycopg.connect(database, autocommit=True)
    make_procedure(watcher, "sleeps", "perform pg_sleep(600);")
    action = add_action(watcher, proc="sleeps", schedule_interval=DAY)
    async with App(database) as app, running(app, poll_interval=0.1, heartbeat_interval=0.1):
        pid = await until_running(watcher, action, "PgSleep")
        watcher.close()
        if way == "crash":
            os.kill(pid, signal.SIGKILL)
        else:
            await asyncio.to_thread(own_server.stop, way)
            await asyncio.to_thread(own_server.start_again)

        def outcome() -> str | None:
            try:
                with psycopg.connect(database, autocommit=True) as connection:
                    return outcomes(connection, action)[0]
            except psycopg.OperationalError:
                return None

        assert await eventually(outcome, "the run's end") == "server_restarted"


@pytest.mark.slow
async def test_the_database_is_restarted_after_its_worker(own_server: Server) -> None:
    database = durable(own_server)
    watcher = psycopg.connect(database, autocommit=True)
    make_procedure(watcher, "sleeps", "perform pg_sleep(600);")
    action = add_action(watcher, proc="sleeps", schedule_interval=DAY)
    with worker_process(database) as process:
        await until_running(watcher, action, "PgSleep")
        process.signal(signal.SIGKILL)
        process.wait()
    watcher.close()
    await asyncio.to_thread(own_server.stop, "immediate")
    await asyncio.to_thread(own_server.start_again)
    async with App(database) as app, running(app, heartbeat_interval=0.1):
        with psycopg.connect(database, autocommit=True) as connection:
            run = await until_ended(connection, action)
    assert run["outcome"] == "server_restarted"
    assert run["message"].startswith("the database server was restarted")


@pytest.mark.slow
async def test_a_lost_scheduler_connection_is_opened_again(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", schedule_interval=SECOND)
    async with running(app, poll_interval=0.1):
        await eventually(lambda: "success" in outcomes(connection, action), "a run")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name like 'worker-%' and datname = current_database()"
        )
        before = len(history(connection, action))
        await eventually(lambda: len(history(connection, action)) > before, "another run")
    assert "the scheduler of actions has to wait" in caplog.text


async def test_what_a_lost_worker_never_began(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", schedule_interval=DAY)
    connection.execute("select from tidemill._start_actions('gone', 1)")
    assert outcomes(connection, action) == [None]
    await run_all(app)
    assert outcomes(connection, action) == ["worker_lost"]


@pytest.mark.one_worker("it counts workers")
async def test_a_run_whose_worker_lost_the_connection_of_its_heartbeat(
    app: App,
    connection: psycopg.Connection,
    lock: psycopg.Connection,
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", schedule_interval=DAY)
    # The next heartbeat, which would tell that the worker lives, comes later than the sweep.
    async with running(app, lease=200.0, heartbeat_interval=100.0):
        await until_running(connection, action)
        connection.execute("select pg_terminate_backend(backend_pid, 10000) from tidemill._workers")
        connection.execute("select tidemill._sweep_leases()")
        assert connection.execute("select state from tidemill.workers").fetchall() == [("lost",)]
        connection.execute("select tidemill._sweep_runs()")
        assert outcomes(connection, action) == [None]
        lock.execute("select pg_advisory_unlock(7)")
        await eventually(lambda: outcomes(connection, action) == ["success"], "its end")
