"""Every form of a task means the same: a coroutine or a plain function, with the job or without."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.running import eventually, run_all, running
from tidemill import App, Cancel, JobContext, JobSpec, Retry

FORMS = ("coroutine", "coroutine with job", "function", "function with job")
Does = Callable[[Any], Any]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def define(app: App, form: str, does: Does, **options: Any) -> None:
    """A task `works` in this form, which does this with its payload."""

    async def coroutine(payload: Any) -> Any:
        result = does(payload)
        return await result if inspect.isawaitable(result) else result

    async def coroutine_with_job(payload: Any, job: JobContext) -> Any:
        assert job.raw_payload
        return await coroutine(payload)

    def function(payload: Any) -> Any:
        return does(payload)

    def function_with_job(payload: Any, job: JobContext) -> Any:
        assert job.raw_payload
        return does(payload)

    of_form: dict[str, Any] = dict(
        zip(FORMS, (coroutine, coroutine_with_job, function, function_with_job), strict=True)
    )
    app.task("works", **options)(of_form[form])


async def test_all_run_once(app: App, form: str, connection: psycopg.Connection) -> None:
    ran: list[int] = []
    define(app, form, ran.append)
    await app.add_jobs([JobSpec("works", number) for number in range(300)])
    await run_all(app)
    assert sorted(ran) == list(range(300))
    assert connection.execute("select from tidemill._jobs").rowcount == 0


async def test_some_end_otherwise(app: App, form: str, connection: psycopg.Connection) -> None:
    def ends(payload: Any) -> Any:
        match payload:
            case 10:
                raise ValueError("ten")
            case 20:
                return Retry(3600)
            case 30:
                raise Cancel("thirty")

    define(app, form, ends)
    await app.add_jobs([JobSpec("works", number) for number in range(40)])
    await run_all(app)
    left = connection.execute(
        "select payload::text, state, attempts, last_error from tidemill.jobs order by id"
    ).fetchall()
    assert left == [
        ("10", "scheduled", 1, "ValueError: ten"),
        ("20", "scheduled", 1, "The task asked for a retry"),
        ("30", "cancelled", 1, "thirty"),
    ]


async def test_a_queue_keeps_its_order(app: App, form: str) -> None:
    ran: list[int] = []
    define(app, form, ran.append)
    await app.add_jobs([JobSpec("works", number, queue_name=f"queue {number % 3}") for number in range(90)])
    await run_all(app)
    for queue in range(3):
        assert [number for number in ran if number % 3 == queue] == list(range(queue, 90, 3))


async def test_a_payload_that_does_not_fit_fails_for_good(
    app: App, form: str, connection: psycopg.Connection
) -> None:
    async def fits(payload: int) -> None: ...

    def fits_too(payload: int) -> None: ...

    app.task("works")(fits if form.startswith("coroutine") else fits_too)
    await app.add_jobs([JobSpec("works", payload) for payload in (1, "one", 2)])
    await run_all(app)
    assert connection.execute("select payload::text, state from tidemill.jobs").fetchall() == [
        ('"one"', "failed")
    ]


async def test_as_many_at_once_as_there_are_slots(app: App, form: str) -> None:
    meeting, met = threading.Barrier(5), asyncio.Barrier(5)

    def meets(payload: Any) -> Any:
        return met.wait() if form.startswith("coroutine") else meeting.wait(30)

    define(app, form, meets)
    await app.add_jobs([JobSpec("works", number) for number in range(20)])
    await run_all(app, concurrency=5)


@pytest.mark.one_worker("the other one goes on")
async def test_what_runs_at_a_stop_ends_and_the_rest_goes_back(
    app: App, form: str, connection: psycopg.Connection
) -> None:
    begun: list[int] = []
    gate, opened = asyncio.Event(), threading.Event()

    def waits(payload: Any) -> Any:
        begun.append(payload)
        return gate.wait() if form.startswith("coroutine") else opened.wait(30)

    define(app, form, waits)
    await app.add_jobs([JobSpec("works", number) for number in range(50)])
    async with running(app, concurrency=2) as worker:
        await eventually(lambda: len(begun) == 2, "two jobs to begin")
        worker.stop()
        gate.set()
        opened.set()
    left = connection.execute("select payload::text::integer, attempts from tidemill.jobs").fetchall()
    assert sorted(left) == [(number, 0) for number in range(50) if number not in begun]
    assert len(begun) == 2
