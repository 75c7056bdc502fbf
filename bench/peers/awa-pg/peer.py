# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
# Its packages are in the virtual environment that runs it, not in ours.
"""Awa: schema | add JOBS | worker CONCURRENCY. The database is that of DATABASE_URL."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import awa
import uvloop

QUEUE = "bench"
CLAIMERS = 4


@dataclass
class Noop:
    id: int


async def schema() -> None:
    async with awa.AsyncClient(os.environ["DATABASE_URL"]) as client:
        await client.migrate()
        await client.install_queue_storage(schema="awa")


async def add(jobs: int) -> None:
    async with awa.AsyncClient(os.environ["DATABASE_URL"]) as client:
        new = [Noop(number) for number in range(jobs)]
        started = time.perf_counter()
        await client.enqueue_many_copy(new, queue=QUEUE)
        print(time.perf_counter() - started)


async def work(concurrency: int) -> None:
    async with awa.AsyncClient(os.environ["DATABASE_URL"]) as client:

        @client.task(Noop, queue=QUEUE)
        async def noop(job: object) -> None:
            pass

        await client.start([{"name": QUEUE, "max_workers": concurrency, "claimers": CLAIMERS}])
        await asyncio.Event().wait()


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    uvloop.run(COMMANDS[command](*map(int, numbers)))
