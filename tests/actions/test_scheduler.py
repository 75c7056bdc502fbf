"""Actions that a worker runs: when it looks, how runs are shared out, and what goes wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tests.actions.support import (
    BLOCKS,
    HOUR,
    NOON,
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
from tests.support.running import eventually, run_all, running
from tidemill import App

pytestmark = pytest.mark.versions(18)


@pytest.mark.usefixtures("unpolled")
async def test_a_new_action_runs_at_once(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    async with running(app, poll_interval=600):
        action = add_action(connection, proc="note", config='{"a": 1}')
        await eventually(lambda: outcomes(connection, action) == ["success"], "the first run")
    assert connection.execute("select action_id, config from seen").fetchall() == [(action, {"a": 1})]
    run = history(connection, action)[0]
    assert run["worker_id"].startswith("worker-")
    assert run["pid"] is not None
    assert state(connection, action)["next_start"] == run["slot"] + HOUR


@pytest.mark.slow
@pytest.mark.usefixtures("unpolled")
async def test_it_runs_on_time_without_polling(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    async with running(app, poll_interval=600):
        action = add_action(connection, proc="note", schedule_interval=SECOND)
        await eventually(lambda: len(outcomes(connection, action)) >= 3, "three runs")
    slots = [run["slot"] for run in history(connection, action)]
    assert all(later > earlier for earlier, later in pairwise(slots))
    assert {(slot - slots[0]) % SECOND for slot in slots} == {0 * SECOND}


@pytest.mark.usefixtures("unpolled")
async def test_a_change_is_seen_at_once(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON.replace(year=2126))
    async with running(app, poll_interval=600):
        connection.execute("select tidemill.alter_action(%s, next_start => now())", [action])
        await eventually(lambda: outcomes(connection, action) == ["success"], "the run")


async def test_without_notifications_it_polls(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    async with running(app, poll_interval=0.05, listen=False):
        action = add_action(connection, proc="note")
        await eventually(lambda: outcomes(connection, action) == ["success"], "the run")


async def test_a_worker_may_leave_actions_alone(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    app.task("other")(lambda payload: None)
    action = add_action(connection, proc="note")
    await run_all(app, action_concurrency=0)
    assert outcomes(connection, action) == []
    await run_all(app)
    assert outcomes(connection, action) == ["success"]


async def test_a_due_task_action_is_run_to_its_end_by_once(app: App, connection: psycopg.Connection) -> None:
    ran: list[Any] = []
    app.task("report")(lambda payload: ran.append(payload))
    add_action(connection, task="report", config='{"of": 1}')
    await run_all(app, poll_interval=0.05)
    assert ran == [{"of": 1}]


async def test_long_runs_leave_slots_to_others(app: App, connection: psycopg.Connection, lock: Any) -> None:
    make_note(connection)
    make_procedure(connection, "blocks", BLOCKS)
    blocked = add_action(connection, proc="blocks")
    async with running(app, action_concurrency=2):
        await until_running(connection, blocked)
        others = [add_action(connection, proc="note") for _ in range(5)]
        await eventually(
            lambda: [outcomes(connection, action) for action in others] == [["success"]] * 5, "the others"
        )
        assert outcomes(connection, blocked) == [None]
        lock.execute("select pg_advisory_unlock(7)")
        await until_ended(connection, blocked)


@pytest.mark.one_worker("each has slots of its own")
async def test_no_more_runs_at_once_than_allowed(app: App, connection: psycopg.Connection, lock: Any) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    actions = [add_action(connection, proc="blocks", name=f"n{n}") for n in range(5)]
    async with running(app, action_concurrency=2):
        await until_running(connection, actions[0])
        await until_running(connection, actions[1])
        begun = [outcomes(connection, action) for action in actions]
        assert begun == [[None], [None], [], [], []]
        lock.execute("select pg_advisory_unlock(7)")
        await eventually(
            lambda: [outcomes(connection, action) for action in actions] == [["success"]] * 5, "all of them"
        )


@pytest.mark.slow
async def test_two_workers_share_what_is_due(app: App, connection: psycopg.Connection, database: str) -> None:
    make_note(connection)
    # However late a busy machine comes to a slot, it is not passed over.
    since = datetime.now(UTC) - 5 * SECOND
    often = {"schedule_interval": SECOND, "missed": "backfill", "initial_start": since}
    actions = [add_action(connection, proc="note", **often) for _ in range(25)]
    actions += [add_action(connection, task="tick", **often) for _ in range(25)]
    async with App(database) as other:
        app.task("tick")(lambda payload: None)
        async with running(app), running(other):
            await eventually(
                lambda: all(len(outcomes(connection, action)) >= 5 for action in actions), "five runs each"
            )
    for action in actions:
        slots = [run["slot"] for run in history(connection, action)]
        assert set(outcomes(connection, action)) == {"success"}
        # Each slot once, and none left out.
        assert slots == [since + n * SECOND for n in range(len(slots))]


async def test_a_scheduler_without_free_connections_tries_again(
    app: App,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._NO_CONNECTION_SECONDS", 0.1)
    make_note(connection)
    action = add_action(connection, proc="note")
    taken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def refuse(*_: Any) -> Any:
        loop.call_soon_threadsafe(taken.set)
        raise psycopg.OperationalError("too many clients already")

    with monkeypatch.context() as patch:
        patch.setattr("tidemill.actions.runner.Backends.take", refuse)
        async with running(app, poll_interval=0.05):
            await asyncio.wait_for(taken.wait(), 30)
            await eventually(lambda: "could not start" in caplog.text, "the log")
            patch.undo()
            await eventually(lambda: outcomes(connection, action) == ["success"], "the run")
    assert state(connection, action)["total_failures"] == 0


@pytest.mark.one_worker("it counts what one asks for")
async def test_it_does_not_ask_for_connections_without_a_pause(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_note(connection)
    add_action(connection, proc="note")
    asked = 0

    def refuse(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise psycopg.OperationalError("too many clients already")

    monkeypatch.setattr("tidemill.actions.runner.Backends.take", refuse)
    monkeypatch.setattr("tidemill.actions.scheduler._NO_CONNECTION_SECONDS", 600.0)
    async with running(app, poll_interval=0.01):
        await eventually(lambda: asked, "the first time")
        report = add_action(connection, task="t")
        await eventually(lambda: outcomes(connection, report) == ["success"], "the job")
    assert asked == 1


async def test_an_idle_connection_that_was_closed_is_not_used(
    app: App, connection: psycopg.Connection
) -> None:
    make_note(connection)
    first = add_action(connection, proc="note")
    async with running(app):
        await eventually(lambda: outcomes(connection, first) == ["success"], "the first run")
        [run] = history(connection, first)
        connection.execute("select pg_terminate_backend(%s, 10000)", [run["pid"]])
        second = add_action(connection, proc="note")
        run = await until_ended(connection, second)
    assert run["outcome"] == "success"


async def test_an_open_transaction_on_an_action_stops_no_other(
    app: App, connection: psycopg.Connection, database: str, lock: Any
) -> None:
    make_note(connection)
    make_procedure(connection, "blocks", BLOCKS)
    changed = add_action(connection, proc="blocks")
    async with running(app, poll_interval=0.1):
        await until_running(connection, changed)
        with psycopg.connect(database) as holder:
            holder.execute("select tidemill.alter_action(%s, max_retries => 3)", [changed])
            lock.execute("select pg_advisory_unlock(7)")
            await eventually(
                lambda: connection.execute(
                    "select 1 from pg_stat_activity where pid = %s and state = 'idle'",
                    [history(connection, changed)[0]["pid"]],
                ).fetchone(),
                "the run to end",
            )
            other = add_action(connection, proc="note")
            await eventually(lambda: outcomes(connection, other) == ["success"], "the other one")
            assert outcomes(connection, changed) == [None]
        run = await until_ended(connection, changed)
    assert run["outcome"] == "success"


async def test_a_run_whose_start_we_never_heard_of(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 0.1)
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON.replace(year=2126))
    async with running(app, poll_interval=0.05) as worker:
        started = connection.execute(
            "select action_id from tidemill._start_actions(%s, 9, %s)", [worker.id, NOON.replace(year=2127)]
        ).fetchall()
        assert (action,) in started
        await eventually(lambda: outcomes(connection, action) == [], "it to be given back")
    assert state(connection, action)["run_id"] is None


async def test_whatever_goes_wrong_it_looks_again(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._SWEEP_SECONDS", 0.1)
    make_note(connection)
    action = add_action(connection, proc="note")
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(*_: Any) -> Any:
        loop.call_soon_threadsafe(failed.set)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("tidemill.actions.scheduler.Run.start", fail)
        async with running(app, poll_interval=0.05):
            await asyncio.wait_for(failed.wait(), 30)
            patch.undo()
            await eventually(lambda: outcomes(connection, action) == ["success"], "the run")
