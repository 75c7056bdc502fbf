"""Workers inside the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import psycopg

from tests.support.processes import leased
from tests.support.waiting import wait_until
from tidemill import App, Worker, WorkerOptions
from tidemill.jobs import Job

T = TypeVar("T")

workers = 1
"""How many workers run where a test asks for one; `pytest --two` makes it two."""


async def eventually(condition: Callable[[], T], what: str) -> T:
    """wait_until beside a running event loop; the condition is called in a thread."""
    return await asyncio.to_thread(wait_until, condition, what)


async def until_leased(connection: psycopg.Connection, count: int = 1) -> None:
    """Waits until so many jobs are leased: an express job is so a moment after its start."""
    await eventually(lambda: leased(connection) == count, f"{count} jobs to be leased")


async def within(event: asyncio.Event, timeout: float = 30.0) -> None:
    """Waits for an event, and fails the test if it never comes."""
    await asyncio.wait_for(event.wait(), timeout)


@asynccontextmanager
async def running(app: App, **options: Any) -> AsyncIterator[Worker]:
    """A worker that runs inside the block, and is stopped at its end; one that is stopping is not hurried."""
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(_running(app, options)) for _ in range(workers)]
        yield started[0]


@asynccontextmanager
async def _running(app: App, options: dict[str, Any]) -> AsyncIterator[Worker]:
    worker = Worker(app, WorkerOptions(**{"migrate": False, **options}))
    run = asyncio.ensure_future(worker.run())
    ready = asyncio.ensure_future(worker.ready.wait())
    await asyncio.wait([run, ready], return_when=asyncio.FIRST_COMPLETED)
    try:
        if run.done():
            await run
        yield worker
    except BaseException:
        worker.stop(hurry=True)
        raise
    finally:
        ready.cancel()
        if not worker._stop_asked.is_set():
            worker.stop()
        await run


async def run_all(app: App, **options: Any) -> None:
    """Runs jobs until none is ready."""
    runs = [app.run_until_empty(WorkerOptions(**{"migrate": False, **options})) for _ in range(workers)]
    await asyncio.gather(*runs)


async def run_one(app: App, identifier: str, payload: Any = None, **options: Any) -> Job | None:
    """Adds a job, runs all that are ready, and returns what is left of it."""
    job = await app.add_job(identifier, payload, **options)
    await run_all(app)
    return await app.get_job(job.id)
