"""Middleware around tasks: `wrap` and `wrap_sync`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import psycopg
import pytest

from tests.support.running import run_all, run_one
from tidemill import App, JobContext, Middleware, Retry, TidemillError, Worker
from tidemill.errors import BatchError

SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


class Around(Middleware):
    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events

    async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
        self.events.append(f"{self.name} in")
        SEEN.set(f"{SEEN.get()} {self.name}")
        try:
            result = await call()
        except BaseException as error:
            self.events.append(f"{self.name} {type(error).__name__}")
            raise
        self.events.append(f"{self.name} {result}")
        return result

    def wrap_sync(self, job: JobContext, call: Callable[[], Any]) -> Any:
        self.events.append(f"{self.name} in")
        SEEN.set(f"{SEEN.get()} {self.name} in {threading.current_thread().name}")
        result = call()
        self.events.append(f"{self.name} {result}")
        return result


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def wrapped(database: str, events: list[str]) -> App:
    return App(database, middleware=[Around("a", events), Around("b", events)])


async def test_async_tasks(wrapped: App, events: list[str]) -> None:
    @wrapped.task
    async def works(payload: Any, job: JobContext) -> int:
        events.append(SEEN.get())
        await asyncio.sleep(0)
        return 7

    @wrapped.task
    async def at_once(payload: Any) -> None:
        events.append(SEEN.get())

    @wrapped.task(timeout=0.01, max_attempts=1)
    async def hangs(payload: Any) -> None:
        await asyncio.Event().wait()

    for name in ("works", "at_once"):
        assert await run_one(wrapped, name) is None
    job = await run_one(wrapped, "hangs")
    assert job is not None
    assert job.last_error == "Timed out after 0.01 s"
    assert events == [
        *("a in", "b in", "nothing a b", "b 7", "a 7"),
        *("a in", "b in", "nothing a b", "b None", "a None"),
        *("a in", "b in", "b CancelledError", "a CancelledError"),
    ]


async def test_plain_functions(wrapped: App, events: list[str]) -> None:
    @wrapped.task
    def works(number: int) -> int | None:
        events.append(SEEN.get())
        return number or None

    for number in (7, 0, 0, 0):
        await works.add(number)
    await run_all(wrapped, concurrency=1)
    seen = "nothing a in tidemill-task b in tidemill-task"
    assert events == [
        *("a in", "b in", seen, "b 7", "a 7"),
        *(["a in", "b in", seen, "b None", "a None"] * 3),
    ]


async def test_its_errors_and_results_are_the_attempts(database: str) -> None:
    class Judges(Middleware):
        async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
            if job.identifier == "forbidden":
                raise PermissionError("not today")
            if job.identifier == "skipped":
                return None
            try:
                return await call()
            except KeyError:
                return Retry("1h", "the wrap asked")

        def wrap_sync(self, job: JobContext, call: Callable[[], Any]) -> Any:
            raise SystemExit(3)

    app = App(database, middleware=[Judges()])
    ran: list[str] = []

    @app.task(max_attempts=1)
    async def forbidden(payload: Any) -> None:
        ran.append("forbidden")

    @app.task
    async def skipped(payload: Any) -> None:
        ran.append("skipped")

    @app.task
    async def breaks(payload: Any) -> None:
        raise KeyError

    @app.task(max_attempts=1)
    def plain(payload: Any) -> None:
        ran.append("plain")

    job = await run_one(app, "forbidden")
    assert job is not None
    assert (job.state, job.last_error) == ("failed", "PermissionError: not today")
    assert await run_one(app, "skipped") is None
    job = await run_one(app, "breaks")
    assert job is not None
    assert (job.state, job.last_error) == ("scheduled", "the wrap asked")
    job = await run_one(app, "plain")
    assert job is not None
    assert (job.state, job.last_error) == ("failed", "SystemExit: 3")
    assert ran == []


async def test_a_batch_ends_inside(wrapped: App, events: list[str]) -> None:
    async def entry(name: str) -> str:
        await asyncio.sleep(0)
        events.append(f"{name}: {SEEN.get()}")
        if name == "bad":
            raise ValueError("no")
        return name.upper()

    @wrapped.task
    async def send(payload: list[str]) -> list[Any]:
        return [entry(name) for name in payload]

    @wrapped.task
    def send_plainly(payload: list[str]) -> list[Any]:
        return [ValueError("no") if name == "bad" else name for name in payload]

    @wrapped.task
    def send_mixed(payload: list[str]) -> list[Any]:
        return [name if name == "a" else entry(name) for name in payload]

    assert await run_one(wrapped, "send", ["a", "b"]) is None
    inside = "nothing a b"
    assert events == ["a in", "b in", f"a: {inside}", f"b: {inside}", "b ['A', 'B']", "a ['A', 'B']"]
    events.clear()
    job = await run_one(wrapped, "send", ["a", "bad"])
    assert job is not None
    assert (job.payload, job.last_error) == (["bad"], "Batch failures:\nno")
    assert events == ["a in", "b in", f"a: {inside}", f"bad: {inside}", "b BatchError", "a BatchError"]
    events.clear()
    job = await run_one(wrapped, "send_plainly", ["a", "bad"])
    assert job is not None
    assert (job.payload, events) == (["bad"], ["a in", "b in"])
    events.clear()
    # The event loop awaits what a plain function returns, when its thread has left.
    job = await run_one(wrapped, "send_mixed", ["a", "bad"])
    assert job is not None
    assert job.payload == ["bad"]
    assert events[-1] == "bad: nothing"


async def test_a_batch_whose_failure_is_swallowed(database: str) -> None:
    class Swallows(Middleware):
        async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
            try:
                return await call()
            except BatchError:
                return None

    app = App(database, middleware=[Swallows()])

    @app.task
    async def send(payload: list[int]) -> list[Any]:
        return [ValueError("no") for _ in payload]

    assert await run_one(app, "send", [1, 2]) is None


async def test_the_results_of_a_batch_are_kept(database: str, connection: psycopg.Connection) -> None:
    app = App(database, middleware=[Around("a", [])])

    async def entry(number: int) -> int:
        return number * 2

    @app.task(keep_result=True)
    async def send(payload: list[int]) -> list[Any]:
        return [entry(number) for number in payload]

    job = await app.add_job("send", [1, 2])
    await run_all(app)
    assert connection.execute("select (tidemill.job_result(%s)).result", [job.id]).fetchone() == ([2, 4],)


@pytest.mark.lane("express")
def test_one_that_would_not_run_where_its_task_runs() -> None:
    class NotAsync(Middleware):
        def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
            return call()

    class NotSync(Middleware):
        async def wrap_sync(self, job: JobContext, call: Callable[[], Any]) -> Any:
            return call()

    for middleware, words in ((NotAsync(), "must be `async def`"), (NotSync(), "must be `def`")):
        with pytest.raises(TidemillError, match=words):
            Worker(App(middleware=[middleware]))


class Forgetful(Middleware):
    async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
        return call()


async def test_one_that_forgets_to_await(database: str) -> None:
    ran: list[Any] = []
    async with App(database, middleware=[Forgetful()]) as app:

        @app.task(max_attempts=1)
        async def t(payload: Any) -> None:
            ran.append(payload)

        payloads: list[Any] = [{}, [1, 2]]
        for payload in payloads:
            job = await run_one(app, "t", payload)
            assert job is not None
            assert (job.state, job.last_error) == (
                "failed",
                "The attempt returned a coroutine that has not run: write `return await ...`.",
            )
    assert ran == []


async def later(value: Any = None) -> Any:
    return value


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("kind", "make", "words"),
    [
        ("async", later, "a coroutine that has not run"),
        ("async", lambda: asyncio.ensure_future(later()), "a Task that nobody waits for"),
        ("async", numbers, "a generator that has not run"),
        ("waits", later, "a coroutine that has not run"),
        ("plain", lambda: later(later()), "a coroutine that has not run"),
        ("plain", numbers, "a generator that has not run"),
        ("entries", lambda: later(later()), "a coroutine that has not run"),
    ],
)
@pytest.mark.parametrize("timeout", [None, 60])
async def test_work_that_a_task_returns(
    app: App, kind: str, make: Callable[[], Any], words: str, timeout: float | None
) -> None:
    async def at_once(payload: Any) -> Any:
        return make()

    async def waits(payload: Any) -> Any:
        await asyncio.sleep(0)
        return make()

    def plain(payload: Any) -> Any:
        return make()

    def entries(payload: Any) -> Any:
        return [later(payload[0]), make()]

    function: Any = {"async": at_once, "waits": waits, "plain": plain, "entries": entries}[kind]
    app.task("t", max_attempts=1, timeout=timeout)(function)
    job = await run_one(app, "t", [1, 2])
    assert job is not None
    assert job.state == "failed"
    assert job.last_error is not None
    assert f"The attempt returned {words}" in job.last_error
    assert job.payload == ([2] if kind == "entries" else [1, 2])


async def test_a_plain_function_may_return_an_awaitable(app: App) -> None:
    app.task("t", max_attempts=1)(lambda payload: later())
    assert await run_one(app, "t") is None
