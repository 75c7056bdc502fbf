# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
# Its packages are in the virtual environment that runs it, not in ours.
"""Procrastinate's worker, with this concurrency. The database is that of PGHOST, PGPORT, ..."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import procrastinate
from psycopg_pool import AsyncConnectionPool, ConnectionPool

app = procrastinate.App(connector=procrastinate.PsycopgConnector())
pool = AsyncConnectionPool(open=False, min_size=1, max_size=12)
plain_pool = ConnectionPool(open=False, min_size=1, max_size=12)
# One write of one short line: lines of several processes do not mix.
_journal = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_ROW = "insert into chaos.runs (number, attempt, worker) values (%s, %s, %s)"
_RETRY = procrastinate.RetryStrategy(max_attempts=24, wait=1)


@contextmanager
def _noted(context: procrastinate.JobContext, number: int) -> Iterator[list[Any]]:
    """Notes start and end; yields the values of the row."""
    who = (number, context.job.attempts + 1, f"python-{os.getpid()}", os.getpid(), time.monotonic())
    _note("start", *who)
    how = "failed"
    try:
        yield list(who[:3])
        how = "ok"
    finally:
        _note("end", *who, time.monotonic(), how)


def _note(*words: object) -> None:
    os.write(_journal, (" ".join(map(str, words)) + "\n").encode())


async def quick(context: procrastinate.JobContext, number: int) -> None:
    with _noted(context, number) as row:
        async with pool.connection() as connection:
            await connection.execute(_ROW, row)


def plain(context: procrastinate.JobContext, number: int) -> None:
    with _noted(context, number) as row, plain_pool.connection() as connection:
        connection.execute(_ROW, row)


async def slow(context: procrastinate.JobContext, number: int) -> None:
    with _noted(context, number) as row:
        async with pool.connection() as connection:
            await connection.execute(_ROW, row)
            await asyncio.sleep(1)


async def flaky(context: procrastinate.JobContext, number: int) -> None:
    with _noted(context, number) as row:
        async with pool.connection() as connection:
            await connection.execute(_ROW, row)
            if context.job.attempts == 0:
                raise RuntimeError("planned")


TASKS: tuple[Callable[..., Awaitable[None] | None], ...] = (quick, plain, slow, flaky)
for task in TASKS:
    app.task(name=task.__name__, pass_context=True, retry=_RETRY)(task)
    app.task(name=f"{task.__name__}_once", pass_context=True)(task)


@app.periodic(cron="* * * * *")
@app.task(name="retry_stalled_jobs", queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: procrastinate.JobContext, timestamp: int) -> None:
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def work(concurrency: int) -> None:
    async with app.open_async(), pool:
        with plain_pool:
            await app.run_worker_async(concurrency=concurrency)


if __name__ == "__main__":
    asyncio.run(work(int(sys.argv[1])))
