# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Oban: schema | add JOBS | worker CONCURRENCY. The database is that of DATABASE_URL."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine

import uvloop
from oban import Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

CONNECTIONS = 10


@worker(queue="default")
class Noop:
    async def process(self, job: object) -> None:
        pass


def pool() -> AsyncConnectionPool:
    return AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=CONNECTIONS, open=False)


async def schema() -> None:
    async with pool() as connections:
        await install(connections)


async def add(jobs: int) -> None:
    async with pool() as connections:
        oban = Oban(pool=connections)
        new = [Noop.new({"id": number}) for number in range(jobs)]
        started = time.perf_counter()
        await oban.enqueue_many(new)
        print(time.perf_counter() - started)


async def work(concurrency: int) -> None:
    async with (
        pool() as connections,
        Oban(pool=connections, queues={"default": concurrency}),
    ):
        await asyncio.Event().wait()


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    uvloop.run(COMMANDS[command](*map(int, numbers)))
