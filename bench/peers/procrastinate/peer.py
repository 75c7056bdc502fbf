# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
# Its packages are in the virtual environment that runs it, not in ours.
"""Procrastinate: schema | add JOBS | worker CONCURRENCY. The database is that of PGHOST, PGPORT, ..."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine

import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(max_size=25))


@app.task(name="noop")
async def noop(id: int) -> None:
    pass


async def schema() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def add(jobs: int) -> None:
    async with app.open_async():
        new = [{"id": number} for number in range(jobs)]
        started = time.perf_counter()
        await noop.batch_defer_async(*new)
        print(time.perf_counter() - started)


async def work(concurrency: int) -> None:
    async with app.open_async():
        await app.run_worker_async(concurrency=concurrency, delete_jobs="always")


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *numbers = sys.argv[1:]
    asyncio.run(COMMANDS[command](*map(int, numbers)))
