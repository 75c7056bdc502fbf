"""Tasks and databases that misbehave: the worker keeps running, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, NoReturn

import psycopg
import pytest

from tests.support.running import eventually, run_all, run_one, running
from tidemill import App, JobContext


class Panic(BaseException):
    """What a library in another language raises."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise Panic("not even its message")


@pytest.mark.parametrize("error", [Panic("rust"), KeyboardInterrupt(), GeneratorExit(), Unspeakable()])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "plain"])
async def test_whatever_is_raised_fails_the_attempt_alone(
    app: App, error: BaseException, is_async: bool
) -> None:
    def raises(payload: Any) -> NoReturn:
        raise error

    async def raises_async(payload: Any) -> NoReturn:
        raise error

    app.task("raises")(raises_async if is_async else raises)
    job = await run_one(app, "raises")
    assert job is not None
    assert (job.state, job.attempts) == ("scheduled", 1)
    assert job.last_error is not None
    assert job.last_error.startswith(type(error).__name__)


async def test_a_task_that_cancels_itself_spends_its_attempt(app: App) -> None:
    @app.task
    async def quits(payload: Any) -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.Event().wait()

    job = await run_one(app, "quits")
    assert job is not None
    assert (job.state, job.attempts, job.last_error) == ("scheduled", 1, "CancelledError")


def _make_tables_anew(connection: psycopg.Connection) -> None:
    truncated = False
    while not truncated:
        # The worker reads these tables in another order, and may win a deadlock.
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            connection.execute(
                "truncate tidemill._jobs, tidemill._tasks, tidemill._queues, tidemill._workers, "
                "tidemill._listeners restart identity"
            )
            truncated = True


async def test_tables_made_anew_under_a_worker_do_not_mix_up_its_tasks(
    app: App, connection: psycopg.Connection
) -> None:
    ran: list[tuple[str, Any]] = []

    @app.task
    async def mail(payload: Any, job: JobContext) -> None:
        ran.append((job.identifier, payload))

    @app.task
    async def wipe(payload: Any, job: JobContext) -> None:
        ran.append((job.identifier, payload))

    # In this order, so that the numbers of the tasks are others after the restart.
    await app.add_job("mail", 1)
    await app.add_job("wipe", 2)
    async with running(app, lease=3, heartbeat_interval=0.5):
        await eventually(lambda: len(ran) == 2, "the first jobs")
        await asyncio.to_thread(_make_tables_anew, connection)
        await app.add_job("other", "not for this worker")
        await app.add_job("wipe", 4)
        await app.add_job("mail", 3)
        await eventually(lambda: len(ran) == 4, "the jobs after it")
    assert sorted(ran) == [("mail", 1), ("mail", 3), ("wipe", 2), ("wipe", 4)]
    assert connection.execute("select identifier, state from tidemill.jobs").fetchall() == [
        ("other", "ready")
    ]


async def test_a_worker_starts_while_a_producer_makes_its_task_known(app: App, database: str) -> None:
    ran = asyncio.Event()

    @app.task
    async def new(payload: Any) -> None:
        ran.set()

    with psycopg.connect(database) as producer:
        # Uncommitted: others that use this name have to wait.
        producer.execute("select tidemill.add_job('new')")
        async with running(app):
            producer.commit()
            await asyncio.wait_for(ran.wait(), 30)


async def test_a_plain_task_that_forgets_sync_fails(app: App) -> None:
    @app.task
    def forgets(payload: Any, job: JobContext) -> None:
        job.add_job("other")

    job = await run_one(app, "forgets")
    assert job is not None
    assert job.last_error == (
        "TypeError: A plain function cannot await job.add_job(...): call job.sync.add_job(...)."
    )


async def test_payloads_that_python_cannot_hold(app: App, connection: psycopg.Connection) -> None:
    @app.task
    async def reads(payload: Any) -> None: ...

    for text in ("[" * 5000 + "]" * 5000, '{"a": "\\ud800"}'):
        connection.execute("select tidemill.add_job('reads', %s::json)", [text])
    await run_all(app)
    # How deep is too deep depends on the Python; half a surrogate pair is never text.
    rows = connection.execute("select id, attempts, last_error from tidemill.jobs").fetchall()
    assert 2 in {job_id for job_id, _, _ in rows}
    for _, attempts, error in rows:
        assert attempts == 25
        assert error.startswith("The payload cannot be read: ")
    # Reading and changing such jobs works all the same.
    assert {job.id for job in await app.reschedule_jobs([1, 2], attempts=0)} == {
        job_id for job_id, _, _ in rows
    }
