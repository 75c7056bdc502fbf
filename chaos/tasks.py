"""The tasks of the load: each writes a row in its own transaction, and lines outside of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tidemill import App, JobContext
from tidemill.retry import constant

app = App()
# One write of one short line: lines of several processes do not mix.
_journal = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_ROW = "insert into chaos.runs (number, attempt, worker) values (%s, %s, %s)"
_SOON = constant("500ms")
_TIMEOUT = "15s"


def _note(*words: object) -> None:
    os.write(_journal, (" ".join(map(str, words)) + "\n").encode())


@contextmanager
def _noted(payload: dict[str, Any], job: JobContext) -> Iterator[list[Any]]:
    """Notes start and end; yields the values of the row."""
    who = (payload["number"], job.attempt, job.worker_id, os.getpid(), time.monotonic())
    _note("start", *who)
    how = "failed"
    try:
        yield [payload["number"], job.attempt, job.worker_id]
        how = "ok"
    finally:
        _note("end", *who, time.monotonic(), how)


@app.task(retry=_SOON, timeout=_TIMEOUT)
async def quick(payload: dict[str, Any], job: JobContext) -> None:
    """A short async task."""
    with _noted(payload, job) as row:
        async with job.connection() as connection:
            await connection.execute(_ROW, row)


@app.task(retry=_SOON)
def plain(payload: dict[str, Any], job: JobContext) -> None:
    """A short plain function; without a time limit a thread goes on with the next one by itself."""
    with _noted(payload, job) as row, job.sync.connection() as connection:
        connection.execute(_ROW, row)


@app.task(retry=_SOON, timeout=_TIMEOUT)
async def slow(payload: dict[str, Any], job: JobContext) -> None:
    """Waits a second in its transaction."""
    with _noted(payload, job) as row:
        async with job.connection() as connection:
            await connection.execute(_ROW, row)
            await asyncio.sleep(1)


@app.task(retry=_SOON, timeout=_TIMEOUT)
async def flaky(payload: dict[str, Any], job: JobContext) -> None:
    """Fails at first, after its SQL, which is rolled back."""
    with _noted(payload, job) as row:
        async with job.connection() as connection:
            await connection.execute(_ROW, row)
            if job.attempt == 1:
                raise RuntimeError("planned")


@app.task(retry=_SOON)
def poison(payload: dict[str, Any], job: JobContext) -> None:
    """Kills its worker."""
    _note("start", payload["number"], job.attempt, job.worker_id, os.getpid(), time.monotonic())
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry=_SOON, timeout=_TIMEOUT)
async def tick(payload: dict[str, Any], job: JobContext) -> None:
    """The task of an action."""
    _note("tick", job.id, time.monotonic())
