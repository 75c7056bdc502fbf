"""tidemill.cancel_jobs on running jobs, which are leased: like all locked rows, a batch is passed over."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import psycopg
import pytest

from tests.support.processes import leased
from tests.support.running import eventually, running, until_leased, within
from tidemill import App, JobContext, Middleware

pytestmark = pytest.mark.versions(18, 16)

# Long beats prove that a notification did it; no listener proves that a beat did.
BY_NOTIFICATION = {"listen": True, "heartbeat_interval": 600, "lease": 3600}
BY_HEARTBEAT = {"listen": False, "heartbeat_interval": 0.05, "lease": 30, "poll_interval": 0.05}
CANCELLED = "Cancelled: no longer wanted"
ways = pytest.mark.parametrize("way", [BY_NOTIFICATION, BY_HEARTBEAT], ids=["notification", "heartbeat"])


def state(connection: psycopg.Connection) -> tuple[Any, ...] | None:
    return connection.execute("select state, last_error, locked_by from tidemill.jobs").fetchone()


async def listening(connection: psycopg.Connection, way: dict[str, Any]) -> None:
    """Waits until the worker's listener has said LISTEN."""
    if way["listen"]:
        await eventually(
            lambda: (
                connection.execute(
                    "select from pg_stat_activity where query = 'listen \"tidemill:ping\"' and state = 'idle'"
                ).rowcount
                > 0
            ),
            "the listener",
        )


@ways
async def test_an_async_task_is_cancelled(
    app: App, connection: psycopg.Connection, way: dict[str, Any]
) -> None:
    begun = asyncio.Event()

    @app.task
    async def hangs(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(app, **way):
        await listening(connection, way)
        job = await app.add_job("hangs")
        await within(begun)
        await until_leased(connection)
        await app.cancel_jobs([job.id], "no longer wanted")
        await eventually(lambda: state(connection) == ("cancelled", CANCELLED, None), "the end")


@ways
async def test_a_cancel_is_told_with_its_reason_and_is_no_error(
    database: str, connection: psycopg.Connection, way: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tidemill")
    told: list[str] = []

    class Tells(Middleware):
        def on_cancel(self, job: JobContext, reason: str, seconds: float) -> None:
            told.append(reason)

    app, begun = App(database, middleware=[Tells()]), asyncio.Event()

    @app.task
    async def hangs(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(app, **way):
        await listening(connection, way)
        job = await app.add_job("hangs")
        await within(begun)
        await until_leased(connection)
        await app.cancel_jobs([job.id], "no longer wanted")
        await eventually(lambda: state(connection) == ("cancelled", CANCELLED, None), "the end")
    assert told == [CANCELLED]
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert any(level == logging.INFO and line.endswith(f": {CANCELLED}") for level, line in lines)
    assert [line for level, line in lines if level >= logging.WARNING] == []


@ways
async def test_a_plain_function_is_told(
    app: App, connection: psycopg.Connection, way: dict[str, Any]
) -> None:
    begun = threading.Event()

    @app.task
    def hangs(payload: Any, job: JobContext) -> None:
        begun.set()
        assert job.wait_cancelled(30)
        job.raise_if_cancelled()

    async with running(app, **way):
        await listening(connection, way)
        job = await app.add_job("hangs")
        await eventually(begun.is_set, "the start")
        await until_leased(connection)
        await app.cancel_jobs([job.id])
        await eventually(lambda: state(connection) == ("cancelled", "Cancelled", None), "the end")


async def test_a_cancelled_job_that_ends_well_is_done(app: App, connection: psycopg.Connection) -> None:
    begun = asyncio.Event()

    @app.task
    async def stubborn(payload: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async with running(app, **BY_HEARTBEAT):
        job = await app.add_job("stubborn")
        await within(begun)
        await until_leased(connection)
        await app.cancel_jobs([job.id])
        await eventually(lambda: state(connection) is None, "the end")


async def test_the_next_job_of_the_queue_is_not_cancelled_too(
    app: App, connection: psycopg.Connection
) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    @app.task
    async def hangs(payload: Any, job: JobContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.task(timeout=20)
    async def after(payload: Any) -> None:
        done.set()
        raise ValueError("recorded")

    async with running(app, **BY_HEARTBEAT):
        job = await app.add_job("hangs", queue_name="letters")
        await app.add_job("after", queue_name="letters")
        await within(begun)
        await eventually(lambda: leased(connection), "the lease")
        await app.cancel_jobs([job.id])
        await within(done)
    rows = connection.execute("select identifier, last_error, attempts from tidemill.jobs order by id")
    assert rows.fetchall() == [("hangs", "Cancelled", 1), ("after", "ValueError: recorded", 1)]


async def test_a_garbled_notification_does_not_deafen_the_worker(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()

    @app.task
    async def hangs(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(app, **BY_NOTIFICATION):
        await listening(connection, BY_NOTIFICATION)
        for channel in ("tidemill:jobs", "tidemill:cancel", "tidemill:ping"):
            connection.execute("select pg_notify(%s, 'nonsense')", [channel])
            connection.execute("select pg_notify(%s, '')", [channel])
        job = await app.add_job("hangs")
        await within(begun)
        await until_leased(connection)
        await app.cancel_jobs([job.id])
        await eventually(lambda: state(connection) == ("cancelled", "Cancelled", None), "the end")
    assert "a notification on tidemill:jobs was not understood: 'nonsense'" in caplog.text
