"""How a job ends: what its task returned or raised, and what is recorded."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.support.running import run_one
from tidemill import App, Cancel, Retry
from tidemill.errors import JobCancelledError
from tidemill.jobs import Job
from tidemill.retry import constant, delays


def wait_of(connection: psycopg.Connection, job: Job | None) -> float:
    """Seconds between a job's failed attempt and its next one."""
    assert job is not None
    row = connection.execute(
        "select extract(epoch from run_at - now()) from tidemill.jobs where id = %s", [job.id]
    ).fetchone()
    assert row is not None
    return float(row[0])


@pytest.mark.parametrize("value", [None, 0, False, "text", {"a": 1}, [1, 2], object()])
async def test_a_returned_value_completes_the_job(app: App, value: object) -> None:
    @app.task("asynchronous")
    async def asynchronous(payload: Any) -> object:
        return value

    @app.task("plain")
    def plain(payload: Any) -> object:
        return value

    assert await run_one(app, "asynchronous") is None
    assert await run_one(app, "plain") is None


@pytest.mark.slow
async def test_an_exception_is_recorded_and_the_default_backoff_applies(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task
    async def breaks(payload: Any) -> None:
        raise ValueError("no such street")

    job = await run_one(app, "breaks")
    assert job is not None
    assert (job.state, job.attempts, job.last_error) == ("scheduled", 1, "ValueError: no such street")
    assert job.locked_by is None
    assert wait_of(connection, job) == pytest.approx(math.e, abs=2.7)

    for attempt in range(2, 13):
        connection.execute("update tidemill._jobs set run_at = now(), attempts = %s", [attempt - 1])
        await app.run_until_empty()
        row = connection.execute(
            "select attempts, extract(epoch from run_at - now()) from tidemill.jobs"
        ).fetchone()
        assert row is not None
        assert row[0] == attempt
        assert float(row[1]) == pytest.approx(math.exp(min(10, attempt)), abs=5)


async def test_plain_functions_fail_like_async_ones(app: App) -> None:
    @app.task
    def breaks(payload: Any) -> None:
        raise KeyError("street")

    job = await run_one(app, "breaks")
    assert job is not None
    assert (job.attempts, job.last_error) == (1, "KeyError: 'street'")


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_retry_and_cancel(app: App, connection: psycopg.Connection, how: str, kind: str) -> None:
    def end(outcome: Exception) -> Exception:
        if how == "raise":
            raise outcome
        return outcome

    def retry(payload: Any) -> object:
        return end(Retry(timedelta(minutes=2), "the mailbox is full"))

    def cancel(payload: Any) -> object:
        return end(Cancel("the user is gone"))

    async def retry_async(payload: Any) -> object:
        return retry(payload)

    async def cancel_async(payload: Any) -> object:
        return cancel(payload)

    app.task("retry")(retry_async if kind == "async" else retry)
    app.task("cancel")(cancel_async if kind == "async" else cancel)

    retried = await run_one(app, "retry")
    assert retried is not None
    assert (retried.state, retried.attempts) == ("scheduled", 1)
    assert retried.last_error == "the mailbox is full"
    assert wait_of(connection, retried) == pytest.approx(120, abs=5)

    cancelled = await run_one(app, "cancel")
    assert cancelled is not None
    assert (cancelled.state, cancelled.attempts) == ("cancelled", 1)
    assert cancelled.last_error == "the user is gone"


async def test_retry_without_delay_runs_again_at_once(app: App) -> None:
    attempts: list[int] = []

    @app.task
    async def third_time(payload: Any, job: Any) -> object:
        attempts.append(job.attempt)
        return Retry(0) if job.attempt < 3 else None

    assert await run_one(app, "third_time") is None
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize(("of_task", "of_job", "allowed"), [(2, 5, 2), (5, 2, 2), (None, 2, 2), (2, None, 2)])
async def test_the_smaller_max_attempts_counts(
    app: App, of_task: int | None, of_job: int | None, allowed: int
) -> None:
    seen: list[tuple[int, int, bool]] = []

    @app.task(max_attempts=of_task, retry=constant(0))
    async def breaks(payload: Any, job: Any) -> None:
        seen.append((job.attempt, job.max_attempts, job.is_last_attempt))
        raise RuntimeError("again")

    job = await run_one(app, "breaks", max_attempts=of_job)
    assert job is not None
    assert seen == [(1, allowed, False), (2, allowed, True)]
    assert job.state == "failed"
    assert job.attempts == job.max_attempts


async def test_a_strategy_sets_the_wait_and_may_give_up(app: App, connection: psycopg.Connection) -> None:
    @app.task(retry=delays([100]))
    async def breaks(payload: Any) -> None:
        raise RuntimeError("again")

    job = await run_one(app, "breaks")
    assert wait_of(connection, job) == pytest.approx(100, abs=5)
    connection.execute("update tidemill._jobs set run_at = now()")
    await app.run_until_empty()
    assert connection.execute("select state from tidemill.jobs").fetchone() == ("failed",)


def _raises(attempts: int) -> float:
    raise ZeroDivisionError


@pytest.mark.parametrize("strategy", [_raises, lambda attempts: "soon", lambda attempts: object()])
async def test_a_broken_strategy_leaves_the_default(
    app: App, connection: psycopg.Connection, strategy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(retry=strategy)
    async def breaks(payload: Any) -> None:
        raise RuntimeError("again")

    job = await run_one(app, "breaks")
    assert job is not None
    assert job.last_error == "RuntimeError: again"
    assert wait_of(connection, job) == pytest.approx(math.e, abs=2.7)
    assert "the retry delay of task breaks is unusable" in caplog.text


@pytest.mark.parametrize(
    "delay", [float("inf"), 1e18, timedelta.max, float("nan"), -5, timedelta(days=-1), "soon"]
)
async def test_odd_delays_hold_nothing_up(app: App, delay: Any) -> None:
    @app.task
    async def retried(payload: Any, job: Any) -> object:
        return Retry(delay) if job.attempt == 1 else Cancel("enough")

    job = await run_one(app, "retried")
    assert job is not None
    assert job.state in ("scheduled", "cancelled")
    assert job.locked_by is None


async def test_system_exit_in_a_task_is_a_failure_like_any_other(app: App) -> None:
    @app.task
    async def leaves(payload: Any) -> None:
        raise SystemExit(3)

    @app.task
    def leaves_thread(payload: Any) -> None:
        raise SystemExit("bye")

    for name, message in (("leaves", "SystemExit: 3"), ("leaves_thread", "SystemExit: bye")):
        job = await run_one(app, name)
        assert job is not None
        assert (job.state, job.last_error) == ("scheduled", message)


async def test_a_cancellation_of_the_tasks_own_making_is_retried(app: App) -> None:
    @app.task
    async def awaits_cancelled(payload: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @app.task
    async def pretends(payload: Any) -> None:
        raise JobCancelledError("not true")

    for name, message in (
        ("awaits_cancelled", "CancelledError"),
        ("pretends", "JobCancelledError: not true"),
    ):
        job = await run_one(app, name)
        assert job is not None
        assert (job.state, job.attempts, job.last_error) == ("scheduled", 1, message)


async def test_a_plain_function_that_returns_an_awaitable_is_awaited(app: App) -> None:
    done: list[Any] = []

    async def work(payload: Any) -> None:
        done.append(payload)

    app.task("wrapped")(lambda payload: work(payload))
    assert await run_one(app, "wrapped", 7) is None
    assert done == [7]
