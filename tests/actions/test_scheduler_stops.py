"""How runs by a worker are stopped, and what a worker that stops does with them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.actions.support import (
    BLOCKS,
    SECOND,
    add_action,
    history,
    make_procedure,
    one_run,
    outcomes,
    state,
    until_ended,
    until_running,
)
from tests.support.running import running
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)


async def test_max_runtime_cancels(app: App, connection: psycopg.Connection, lock: Any) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks", max_runtime=SECOND / 5)
    run = await one_run(app, connection, action)
    assert (run["outcome"], run["sqlstate"]) == ("timeout", "57014")
    assert run["message"] == "canceled after its max_runtime of 0.2 s"


@pytest.mark.slow
async def test_what_does_not_heed_a_cancel_is_terminated(
    app: App, connection: psycopg.Connection, lock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._TERMINATE_SECONDS", 0.3)
    make_procedure(
        connection,
        "stubborn",
        "loop begin perform pg_advisory_lock(7); exception when query_canceled then null; end; end loop;",
    )
    action = add_action(connection, proc="stubborn", max_runtime=SECOND / 5)
    run = await one_run(app, connection, action)
    assert run["outcome"] == "timeout"
    gone = connection.execute("select from pg_stat_activity where pid = %s", [run["pid"]]).fetchall()
    assert gone == []


@pytest.mark.usefixtures("unpolled")
@pytest.mark.parametrize("way", ["paused", "deleted"])
async def test_a_running_action_is_stopped(
    app: App, connection: psycopg.Connection, lock: Any, way: str
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app, poll_interval=600):
        await until_running(connection, action)
        if way == "paused":
            connection.execute("select tidemill.alter_action(%s, scheduled => false)", [action])
        else:
            connection.execute("select tidemill.delete_action(%s)", [action])
        run = await until_ended(connection, action)
    assert (run["outcome"], run["message"]) == ("stopped", f"the action was {way} while it ran")


async def test_a_cancel_by_somebody_else_is_a_failure(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app):
        pid = await until_running(connection, action)
        connection.execute("select pg_cancel_backend(%s)", [pid])
        run = await until_ended(connection, action)
    assert (run["outcome"], run["sqlstate"]) == ("failure", "57014")
    assert run["message"] == "canceling statement due to user request"


async def test_a_stopping_worker_waits_for_its_runs(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app) as worker:
        await until_running(connection, action)
        worker.stop()
        lock.execute("select pg_advisory_unlock(7)")
    assert outcomes(connection, action) == ["success"]


async def test_a_worker_in_a_hurry_stops_its_runs(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app) as worker:
        await until_running(connection, action)
        worker.stop(hurry=True)
    [run] = history(connection, action)
    assert (run["outcome"], run["message"]) == ("stopped", "the worker was shut down while it ran")
    found = state(connection, action)
    # Another worker may run it at once: the action did nothing wrong.
    assert (found["next_start"], found["consecutive_failures"]) == (run["finished_at"], 0)
