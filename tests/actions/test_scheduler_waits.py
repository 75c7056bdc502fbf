"""What makes the scheduler look again without a poll, and what it leaves open meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.actions.support import (
    BLOCKS,
    SECOND,
    add_action,
    history,
    make_note,
    make_procedure,
    outcomes,
    until_ended,
    until_running,
)
from tests.support.hand_worker import HandWorker
from tests.support.running import eventually, run_all, running, within
from tidemill import App, Worker, WorkerOptions
from tidemill.actions.backends import Backends
from tidemill.actions.runner import Ending, Run, StartedRun
from tidemill.actions.scheduler import Scheduler
from tidemill.database.patient import connect_patiently


def refuse() -> psycopg.Connection:
    raise psycopg.OperationalError("no connection")


def scheduler(*, once: bool) -> Scheduler:
    """One that reaches no database."""
    return Scheduler(
        worker_id="worker",
        connect=refuse,
        backends=Backends("", patience=30),
        concurrency=1,
        may_start=lambda: True,
        poll_interval=600,
        once=once,
        on_end=lambda: None,
    )


async def test_a_notification_during_a_look_brings_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Scheduler] = []
    second = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look(self: Scheduler) -> float:
        looks.append(self)
        if len(looks) == 1:
            self.notify()
        else:
            loop.call_soon_threadsafe(second.set)
        return 600

    monkeypatch.setattr(Scheduler, "_look", look)
    made = scheduler(once=False)
    made.start()
    await within(second)
    await asyncio.to_thread(made.stop, 30)
    assert not made.is_alive


async def test_nobody_waits_for_one_that_cannot_reach_the_database() -> None:
    made = scheduler(once=True)
    made.start()
    await asyncio.wait_for(asyncio.to_thread(made.wait_idle), 30)
    await asyncio.to_thread(made.stop, 30)
    assert not made.is_alive


@pytest.mark.usefixtures("unpolled")
async def test_an_end_that_could_not_be_recorded_is_tried_again(
    app: App, connection: psycopg.Connection, database: str, lock: Any
) -> None:
    make_note(connection)
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    async with running(app, poll_interval=600):
        await until_running(connection, action)
        with psycopg.connect(database) as holder:
            holder.execute("select from tidemill._action_states where action_id = %s for update", [action])
            lock.execute("select pg_advisory_unlock(7)")
            await eventually(
                lambda: (
                    connection.execute(
                        "select from pg_stat_activity where pid = %s and state = 'idle'",
                        [history(connection, action)[0]["pid"]],
                    ).rowcount
                ),
                "the run to end",
            )
            # The end of another one brings a look, and is the last thing to do so.
            note = add_action(connection, proc="note")
            await eventually(lambda: outcomes(connection, note) == ["success"], "the other one")
            assert outcomes(connection, action) == [None]
        # Its transaction has ended, which notifies nobody.
        run = await until_ended(connection, action)
    assert run["outcome"] == "success"


@pytest.mark.usefixtures("unpolled")
@pytest.mark.parametrize("why", ["timeout", "stopped"])
async def test_what_does_not_heed_a_cancel_is_terminated_without_a_poll(
    app: App, connection: psycopg.Connection, lock: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr("tidemill.actions.scheduler._TERMINATE_SECONDS", 0.3)
    make_procedure(
        connection,
        "stubborn",
        "loop begin perform pg_advisory_lock(7); exception when query_canceled then null; end; end loop;",
    )
    limit = {"max_runtime": SECOND / 5} if why == "timeout" else {}
    action = add_action(connection, proc="stubborn", **limit)
    async with running(app, poll_interval=600):
        if why == "stopped":
            await until_running(connection, action)
            connection.execute("select tidemill.alter_action(%s, scheduled => false)", [action])
        run = await until_ended(connection, action)
    assert run["outcome"] == why


async def test_a_run_that_fails_while_it_is_stopped_has_failed(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    make_procedure(
        connection,
        "untidy",
        "perform pg_advisory_lock(7); exception when query_canceled then raise 'no way to clean up';",
    )
    action = add_action(connection, proc="untidy", max_runtime=SECOND / 5)
    async with running(app):
        run = await until_ended(connection, action)
    assert (run["outcome"], run["message"]) == ("failure", "no way to clean up")


async def test_once_waits_for_runs_since_they_may_add_jobs(
    app: App, connection: psycopg.Connection, lock: Any
) -> None:
    ran: list[Any] = []
    app.task("report")(lambda payload: ran.append(payload))
    make_procedure(connection, "adds", BLOCKS + "perform tidemill.add_job('report');")
    make_note(connection)
    adds = add_action(connection, proc="adds")
    worker = Worker(app, WorkerOptions(once=True, migrate=False))
    run = asyncio.ensure_future(worker.run())
    await until_running(connection, adds)
    # The end of each brings a look, in which the first one is still running.
    for _ in range(2):
        assert (await until_ended(connection, add_action(connection, proc="note")))["outcome"] == "success"
    assert not worker.ready.is_set()
    lock.execute("select pg_advisory_unlock(7)")
    await run
    assert ran == [{}]


async def test_once_that_is_cancelled_before_its_jobs_has_nothing_to_settle(
    app: App, connection: psycopg.Connection, lock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_procedure(connection, "blocks", BLOCKS)
    action = add_action(connection, proc="blocks")
    run = asyncio.ensure_future(run_all(app, grace_period=0))
    await until_running(connection, action)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert "could not be settled" not in caplog.text
    assert outcomes(connection, action) == ["stopped"]


async def test_a_late_cancel_hits_no_other_run(connection: psycopg.Connection, database: str) -> None:
    backends = Backends(database, patience=30)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ending | None] = loop.create_future()

    def on_end(_: Run, ending: Ending | None) -> None:
        loop.call_soon_threadsafe(ended.set_result, ending)

    # Its row is gone, so there is nothing to call.
    run = Run(StartedRun(999, 1, "gone", None), backends, on_end)
    run.start()
    ending = await asyncio.wait_for(ended, 30)
    assert ending is not None
    assert ending.outcome == "stopped"
    # The next run has its connection.
    taken = backends.take()
    run.stop("stopped", "too late")
    assert run.pid is None
    waiting = asyncio.ensure_future(asyncio.to_thread(taken.execute, "select pg_advisory_lock(8)"))
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(8)")
        await asyncio.to_thread(run.cancel, connection)
    await waiting
    backends.give_back(taken)
    backends.close_idle(all_of_them=True)


async def test_a_connection_that_no_run_needs_is_closed(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.actions.backends._IDLE_SECONDS", 0)
    make_note(connection)
    action = add_action(connection, proc="note")
    async with running(app, poll_interval=0.05):
        run = await until_ended(connection, action)

        def gone() -> bool:
            found = connection.execute("select from pg_stat_activity where pid = %s", [run["pid"]])
            return found.rowcount == 0

        await eventually(gone, "the connection to be closed")


def test_past_the_lease_of_its_worker_it_starts_no_run(database: str, connection: psycopg.Connection) -> None:
    def runs() -> int:
        return connection.execute("select from tidemill.action_history").rowcount

    in_time = False
    HandWorker.register(connection, [])
    made = Scheduler(
        worker_id="by hand",
        connect=lambda: connect_patiently(database, 30),
        backends=Backends(database, patience=30),
        concurrency=1,
        may_start=lambda: in_time,
        poll_interval=600,
        on_end=lambda: None,
    )
    connection.execute("create procedure nothing(integer, jsonb) language sql begin atomic end;")
    connection.execute("select tidemill.add_action('nothing', '1 hour')")
    made._look()
    assert runs() == 0
    in_time = True
    made._look()
    assert runs() == 1
    made.start()
    made.stop(30)
