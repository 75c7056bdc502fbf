# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
# Its packages are in the virtual environment that runs it, not in ours.
"""Chancy: schema | add JOBS | worker CONCURRENCY. The database is that of DATABASE_URL."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine

from chancy import Chancy, Queue, Worker, job


@job()
async def noop(id: int) -> None:
    pass


def queue(concurrency: int) -> Queue:
    return Queue(
        "default",
        concurrency=concurrency,
        executor="chancy.executors.asyncex.AsyncExecutor",
        eager_polling=True,
        polling_interval=1,
    )


async def schema() -> None:
    async with Chancy(os.environ["DATABASE_URL"]) as chancy:
        await chancy.migrate()


async def add(jobs: int) -> None:
    async with Chancy(os.environ["DATABASE_URL"]) as chancy:
        new = [noop.job.with_kwargs(id=number) for number in range(jobs)]
        started = time.perf_counter()
        async for _ in chancy.push_many(new):
            pass
        print(time.perf_counter() - started)


async def work(concurrency: int) -> None:
    # Chancy's default logger prints a line for each job.
    async with Chancy(os.environ["DATABASE_URL"], log=logging.getLogger("chancy")) as chancy:
        await chancy.declare(queue(concurrency), upsert=True)
        async with Worker(chancy) as worker:
            await worker.wait_for_shutdown()


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    asyncio.run(COMMANDS[command](*map(int, numbers)))
