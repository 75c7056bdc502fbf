"""Middleware hooks and the worker's log lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.support.running import run_all
from tidemill import App, Cancel, JobContext, Middleware, Worker, WorkerOptions
from tidemill.middleware import Adding

# What it is about does not depend on the lane.
pytestmark = pytest.mark.lane("express")


class Recording(Middleware):
    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events

    def _note(self, what: str) -> None:
        self.events.append(f"{self.name} {what}")

    def worker_started(self, worker_id: str) -> None:
        self._note("started")

    def worker_stopped(self, worker_id: str) -> None:
        self._note("stopped")

    def before_job(self, job: JobContext) -> None:
        self._note(f"before {job.identifier}")

    def after_job(self, job: JobContext, seconds: float) -> None:
        assert seconds >= 0
        self._note(f"after {job.identifier}")

    def on_error(self, job: JobContext, error: BaseException, seconds: float) -> None:
        self._note(f"error {type(error).__name__}")

    def on_cancel(self, job: JobContext, reason: str, seconds: float) -> None:
        self._note(f"cancel {job.identifier}: {reason}")


@pytest.mark.one_worker("each calls the hooks of its start and stop")
async def test_hooks_in_order(database: str) -> None:
    events: list[str] = []
    app = App(database, middleware=[Recording("a", events), Recording("b", events)])

    @app.task
    async def works(payload: Any) -> None:
        events.append("works")

    @app.task
    async def breaks(payload: Any) -> None:
        raise KeyError

    @app.task
    async def cancels(payload: Any) -> Cancel:
        return Cancel("gone")

    for priority, name in enumerate(("works", "breaks", "cancels")):
        await app.add_job(name, priority=priority)
    await run_all(app, concurrency=1)
    assert events == [
        "a started",
        "b started",
        "a before works",
        "b before works",
        "works",
        "b after works",
        "a after works",
        "a before breaks",
        "b before breaks",
        "b error KeyError",
        "a error KeyError",
        "a before cancels",
        "b before cancels",
        "b cancel cancels: gone",
        "a cancel cancels: gone",
        "b stopped",
        "a stopped",
    ]


class Broken(Middleware):
    def before_job(self, job: JobContext) -> None:
        raise RuntimeError("before")

    def after_job(self, job: JobContext, seconds: float) -> None:
        raise SystemExit(1)

    def on_error(self, job: JobContext, error: BaseException, seconds: float) -> None:
        raise RuntimeError("error")

    def worker_started(self, worker_id: str) -> None:
        raise RuntimeError("started")

    def worker_stopped(self, worker_id: str) -> None:
        raise RuntimeError("stopped")


async def test_an_exception_in_a_hook_does_no_harm(database: str, caplog: pytest.LogCaptureFixture) -> None:
    app = App(database, middleware=[Broken()])

    @app.task
    async def works(payload: Any) -> None: ...

    @app.task
    async def breaks(payload: Any) -> None:
        raise KeyError("recorded")

    done = await app.add_job("works")
    failed = await app.add_job("breaks")
    await run_all(app)
    assert await app.get_job(done.id) is None
    job = await app.get_job(failed.id)
    assert job is not None
    assert job.last_error == "KeyError: 'recorded'"
    for hook in ("worker_started", "before_job", "after_job", "on_error", "worker_stopped"):
        assert f"the hook {hook} of Broken failed" in caplog.text


async def test_log_lines(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def works(payload: Any) -> None: ...

    @app.task(max_attempts=2)
    async def breaks(payload: Any) -> None:
        raise KeyError("street")

    @app.task
    async def cancels(payload: Any) -> None:
        raise Cancel("gone")

    for name in ("works", "breaks", "cancels"):
        await app.add_job(name)
    worker = Worker(app, WorkerOptions(once=True, concurrency=1))
    await worker.run()
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]

    def has(level: int, *parts: str) -> bool:
        return any(at == level and all(part in line for part in parts) for at, line in lines)

    assert has(logging.INFO, worker.id, "runs 3 task(s), 1 at once: breaks, cancels, works")
    assert has(logging.INFO, "job 1 (works) done in")
    assert has(logging.ERROR, "job 2 (breaks) failed attempt 1 of 2 after", "'street'")
    assert has(logging.INFO, "job 2 (breaks) will run again at")
    assert has(logging.INFO, "job 3 (cancels) ended attempt 1 of 25 after", ": gone")
    assert has(logging.INFO, "job 3 (cancels) is cancelled")
    assert has(logging.INFO, worker.id, "has stopped")
    traces = [record.getMessage() for record in caplog.records if record.exc_info]
    assert len(traces) == 1
    assert "(breaks)" in traces[0]


async def test_a_task_that_configures_logging_does_not_silence_the_worker(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(max_attempts=1)
    async def configures(payload: Any) -> None:
        # As logging.config.dictConfig does.
        logging.getLogger("tidemill").disabled = True
        raise ValueError("told all the same")

    await app.add_job("configures")
    await run_all(app)
    assert "failed attempt 1 of 1" in caplog.text
    assert "failed for good: ValueError: told all the same" in caplog.text


class AroundAdds(Recording):
    @contextmanager
    def around_add(self, adding: Adding) -> Iterator[None]:
        self._note(f"adds {[spec.priority for spec in adding.specs]}")
        adding.trace = self.name
        yield
        self._note(f"added {[job.identifier for job in adding.jobs]}")


async def test_around_adds(database: str) -> None:
    events: list[str] = []
    app = App(database, middleware=[AroundAdds("a", events), Middleware(), AroundAdds("b", events)])

    @app.task(priority=3)
    async def works(payload: Any) -> None: ...

    await works.add(1)
    async with app.connection() as connection:
        [(trace,)] = await (await connection.execute("select trace from tidemill.jobs")).fetchall()
    # The innermost has the last word.
    assert trace == "b"
    one = ["a adds [3]", "b adds [3]", "b added ['works']", "a added ['works']"]
    assert events == one
    events.clear()
    app.sync.add_job("works")
    assert events == one
    events.clear()
    assert await app.add_jobs([]) == app.sync.add_jobs([]) == []
    assert events == []


async def test_an_add_fails_with_what_is_around_it(database: str) -> None:
    class Refuses(Middleware):
        def around_add(self, adding: Adding) -> AbstractContextManager[None]:
            raise LookupError("no jobs today")

    app = App(database, middleware=[Refuses()])
    with pytest.raises(LookupError, match="no jobs today"):
        await app.add_job("t")
    with pytest.raises(LookupError, match="no jobs today"):
        app.sync.add_job("t")
