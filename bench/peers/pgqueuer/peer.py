# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
# Its packages are in the virtual environment that runs it, not in ours.
"""PgQueuer: schema | add JOBS | worker CONCURRENCY. The database is that of PGHOST, PGPORT, ..."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

BATCH = 1000


async def schema() -> None:
    await Queries(AsyncpgDriver(await asyncpg.connect())).install()


async def add(jobs: int) -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect()))
    payloads: list[bytes | None] = [json.dumps({"id": number}).encode() for number in range(jobs)]
    started = time.perf_counter()
    await queries.enqueue(["noop"] * jobs, payloads, [0] * jobs)
    print(time.perf_counter() - started)


async def work(concurrency: int) -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("noop")
    async def noop(job: object) -> None:
        pass

    @pgq.entrypoint("nap")
    async def nap(job: object) -> None:
        await asyncio.sleep(0.005)

    await pgq.run(batch_size=BATCH)


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    uvloop.run(COMMANDS[command](*map(int, numbers)))
