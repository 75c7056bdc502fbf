"""How the span of an attempt ends: well, with an outcome, or with an error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from tests.contrib.test_traces import Recorder, is_child
from tests.support.running import eventually, run_all, run_one, running, until_leased, within
from tidemill import App, Cancel, JobContext, Retry
from tidemill.contrib.opentelemetry import Traces

pytestmark = pytest.mark.versions(18)

Ends = tuple[StatusCode, str | None, list[Any], Any]

WELL: Ends = (StatusCode.UNSET, None, [], None)
TIMED_OUT: Ends = (
    *(StatusCode.ERROR, "JobTimeoutError: Timed out after 0.05 s"),
    *(["tidemill.errors.JobTimeoutError"], None),
)


def outcome(name: str) -> Ends:
    return StatusCode.UNSET, None, [], name


def error(kind: str, message: str) -> Ends:
    return StatusCode.ERROR, f"{kind}: {message}", [kind], None


def end(span: ReadableSpan) -> Ends:
    """Status, description, the types of recorded exceptions, the outcome."""
    recorded = [(event.attributes or {})["exception.type"] for event in span.events]
    attributes = span.attributes or {}
    return span.status.status_code, span.status.description, recorded, attributes.get("tidemill.outcome")


@pytest.fixture
def spans() -> Recorder:
    return Recorder()


@pytest.fixture
def app(database: str, spans: Recorder) -> App:
    return App(database, middleware=[Traces(spans.provider)])


def raises(raised: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise raised

    return call


WAYS: dict[str, tuple[Callable[[], Any], Ends]] = {
    "well": (lambda: None, WELL),
    "an exception as a result": (lambda: ValueError("b"), WELL),
    "a returned retry": (lambda: Retry("1h"), outcome("retry")),
    "a raised retry": (raises(Retry("1h", "busy")), outcome("retry")),
    "a returned cancel": (lambda: Cancel("no"), outcome("cancel")),
    "a raised cancel": (raises(Cancel("no")), outcome("cancel")),
    "an error": (raises(ValueError("b")), error("ValueError", "b")),
    "a cancellation of its own": (
        raises(asyncio.CancelledError("x")),
        (StatusCode.ERROR, "CancelledError: x", ["asyncio.exceptions.CancelledError"], None),
    ),
}


async def test_what_tasks_return_and_raise(app: App, spans: Recorder) -> None:
    @app.task
    async def in_loop(payload: str) -> Any:
        return WAYS[payload][0]()

    @app.task
    def in_thread(payload: str) -> Any:
        return WAYS[payload][0]()

    for task in (in_loop, in_thread):
        for name, (_, expected) in WAYS.items():
            await task.add(name)
            await run_all(app)
            assert end(spans.one(f"process {task.identifier}")) == expected, (task.identifier, name)
            spans.exporter.clear()


async def test_timeouts(app: App, spans: Recorder) -> None:
    ended = threading.Event()

    @app.task(timeout=0.05)
    async def hangs(payload: Any) -> None:
        await asyncio.Event().wait()

    @app.task(timeout=0.05)
    def obeys(payload: Any, job: JobContext) -> None:
        job.wait_cancelled(60)
        job.raise_if_cancelled()

    @app.task(timeout=0.05)
    def ends_too_late(payload: Any, job: JobContext) -> None:
        job.wait_cancelled(60)
        ended.set()

    for name in ("hangs", "obeys", "ends_too_late"):
        await run_one(app, name)
        assert end(spans.one(f"process {name}")) == TIMED_OUT, name
    assert ended.is_set()


async def test_cancels(app: App, spans: Recorder, connection: psycopg.Connection) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    @app.task
    async def hangs(payload: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.task
    def obeys(payload: Any, job: JobContext) -> None:
        loop.call_soon_threadsafe(begun.set)
        job.wait_cancelled(60)
        job.raise_if_cancelled()

    @app.task
    def ends_all_the_same(payload: Any, job: JobContext) -> None:
        loop.call_soon_threadsafe(begun.set)
        job.wait_cancelled(60)

    async with running(app, listen=False, heartbeat_interval=0.05, poll_interval=0.05):
        for name in ("hangs", "obeys", "ends_all_the_same"):
            begun.clear()
            job = await app.add_job(name)
            await within(begun)
            await until_leased(connection)
            await app.cancel_jobs([job.id])
            await eventually(partial(spans.named, f"process {name}"), "the span")
    assert end(spans.one("process hangs")) == outcome("cancel")
    assert end(spans.one("process obeys")) == outcome("cancel")
    assert end(spans.one("process ends_all_the_same")) == WELL


async def test_what_is_given_back(app: App, spans: Recorder) -> None:
    begun: list[str] = []
    both = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin(name: str) -> None:
        begun.append(name)
        if len(begun) == 3:
            both.set()

    @app.task
    async def hangs(payload: Any) -> None:
        begin("hangs")
        await asyncio.Event().wait()

    @app.task
    async def breaks(payload: Any) -> None:
        begin("breaks")
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it stops")

    @app.task
    def obeys(payload: Any, job: JobContext) -> None:
        loop.call_soon_threadsafe(begin, "obeys")
        job.wait_cancelled(60)

    async with running(app) as worker:
        for name in ("hangs", "breaks", "obeys"):
            await app.add_job(name)
        await within(both)
        worker.stop(hurry=True)
    for name in ("hangs", "breaks", "obeys"):
        await eventually(partial(spans.named, f"process {name}"), "the span")
        assert end(spans.one(f"process {name}")) == outcome("given_back"), name


async def test_batches(app: App, spans: Recorder) -> None:
    async def entry(number: int) -> None:
        with spans.tracer.start_as_current_span(f"entry {number}"):
            await asyncio.sleep(0)
            if number == 2:
                raise ValueError("no 2")

    @app.task
    async def in_loop(payload: list[int]) -> list[Any]:
        return [entry(number) for number in payload]

    @app.task
    def in_thread(payload: list[int]) -> list[Any]:
        return [ValueError("no 2") if number == 2 else None for number in payload]

    failed = (StatusCode.ERROR, "BatchError: Batch failures:\nno 2", ["tidemill.errors.BatchError"], None)
    for task in (in_loop, in_thread):
        name = f"process {task.identifier}"
        job = await run_one(app, task.identifier, [1, 2])
        assert job is not None
        assert job.payload == [2]
        assert end(spans.one(name)) == failed
        if task is in_loop:
            assert all(is_child(spans.one(f"entry {number}"), spans.one(name)) for number in (1, 2))
        spans.exporter.clear()
        assert await run_one(app, task.identifier, [1, 3]) is None
        assert end(spans.one(name)) == WELL
        spans.exporter.clear()
