"""Timeouts: an async task is cancelled, a plain one is told and no longer counts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, run_all, run_one, running, within
from tidemill import App, JobContext


async def test_an_async_task_is_cancelled(app: App) -> None:
    ended: list[type[BaseException]] = []

    @app.task(timeout=0.05)
    async def hangs(payload: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ended.append(type(error))
            raise

    job = await run_one(app, "hangs")
    assert job is not None
    assert (job.state, job.attempts, job.last_error) == ("scheduled", 1, "Timed out after 0.05 s")
    assert ended == [asyncio.CancelledError]


async def test_a_tasks_own_timeout_error_keeps_its_words(app: App) -> None:
    @app.task(timeout=60)
    async def hangs(payload: Any) -> None:
        raise TimeoutError("the printer")

    job = await run_one(app, "hangs")
    assert job is not None
    assert job.last_error == "TimeoutError: the printer"


async def test_batch_entries_are_under_the_same_timeout(app: App) -> None:
    @app.task(timeout=0.05)
    async def hangs(payload: list[int]) -> list[Any]:
        return [asyncio.Event().wait()]

    job = await run_one(app, "hangs", [1])
    assert job is not None
    assert job.last_error == "Timed out after 0.05 s"


async def test_a_plain_function_is_told_and_its_late_return_completes_nothing(
    app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    told, release = threading.Event(), threading.Event()

    @app.task(timeout=0.05)
    def hangs(payload: Any, job: JobContext) -> None:
        assert job.wait_cancelled(30)
        assert job.cancelled
        told.set()
        assert release.wait(30)

    async with running(app):
        job = await app.add_job("hangs")
        await eventually(told.is_set, "the function to be told")

        def failed() -> bool:
            row = connection.execute("select last_error, locked_by from tidemill.jobs").fetchone()
            return row == ("Timed out after 0.05 s", None)

        await eventually(failed, "the attempt to be recorded")
        release.set()
        await eventually(lambda: "has stopped at last" in caplog.text, "the function's end")
    left = await app.get_job(job.id)
    assert left is not None
    assert (left.attempts, left.last_error) == (1, "Timed out after 0.05 s")


async def test_slot_and_named_queue_stay_taken_until_the_function_ends(
    app: App, connection: psycopg.Connection
) -> None:
    release = threading.Event()
    order: list[str] = []

    @app.task(timeout=0.05)
    def hangs(payload: Any) -> None:
        order.append("hangs begins")
        assert release.wait(30)
        order.append("hangs ends")

    @app.task
    async def quick(payload: str) -> None:
        order.append(payload)

    async with running(app, concurrency=1):
        await app.add_job("hangs", queue_name="letters")

        def timed_out() -> bool:
            return connection.execute("select from tidemill.jobs where last_error is not null").rowcount == 1

        await eventually(timed_out, "the timeout")
        await app.add_job("quick", "next of the queue", queue_name="letters")
        await app.add_job("quick", "next of the slot")
        row = connection.execute("select locked_by is not null from tidemill._queues").fetchone()
        assert row == (True,)
        assert order == ["hangs begins"]
        release.set()
        await eventually(lambda: len(order) == 4, "the rest")
    assert order[:2] == ["hangs begins", "hangs ends"]
    assert sorted(order[2:]) == ["next of the queue", "next of the slot"]


async def test_a_function_that_outlives_its_timeout_does_not_hold_up_a_stop(app: App) -> None:
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.task(timeout=0.05)
    def hangs(payload: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait(30)

    try:
        async with running(app, grace_period=0.1):
            job = await app.add_job("hangs", queue_name="letters")
            await within(begun)
    finally:
        release.set()
    left = await app.get_job(job.id)
    assert left is not None
    assert left.locked_by is None


async def test_once_waits_for_a_function_whose_queue_has_other_jobs(
    app: App, connection: psycopg.Connection
) -> None:
    release = threading.Event()
    ran: list[str] = []

    @app.task(timeout=0.05)
    def hangs(payload: Any) -> None:
        assert release.wait(30)

    @app.task(max_attempts=1)
    async def quick(payload: str) -> None:
        ran.append(payload)

    await app.add_job("hangs", queue_name="letters", max_attempts=1)
    await app.add_job("quick", "behind", queue_name="letters")
    await app.add_job("quick", "beside")
    run = asyncio.ensure_future(run_all(app))
    await eventually(
        lambda: connection.execute("select from tidemill.jobs where last_error is not null").rowcount,
        "the timeout",
    )
    await eventually(lambda: ran == ["beside"], "the job without a queue")
    release.set()
    await run
    assert ran == ["beside", "behind"]
    assert connection.execute("select from tidemill._queues where locked_by is not null").rowcount == 0


async def test_a_stop_frees_the_queue_of_a_function_that_outlives_its_timeout(
    app: App, connection: psycopg.Connection
) -> None:
    release = threading.Event()

    @app.task(timeout=0.05)
    def hangs(payload: Any) -> None:
        release.wait(30)

    def count(query: bytes) -> int:
        return connection.execute(query).rowcount

    try:
        async with running(app, grace_period=0):
            await app.add_job("hangs", queue_name="letters")
            # The job is written, and only its queue is still held.
            await eventually(
                lambda: count(b"select from tidemill.jobs where last_error is not null"), "the timeout"
            )
            assert count(b"select from tidemill._queues where locked_by is not null") == 1
        assert count(b"select from tidemill._queues where locked_by is not null") == 0
        assert count(b"select from tidemill._workers") == 0
    finally:
        release.set()
