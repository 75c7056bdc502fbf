# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Procrastinate: schema | add JOBS | worker OPTIONS, which are JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tasks import app, app_of


async def schema() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def add(jobs: str) -> None:
    async with app.open_async():
        new = [{"id": number} for number in range(int(jobs))]
        started = time.perf_counter()
        await app.tasks["noop"].batch_defer_async(*new)
        print(time.perf_counter() - started)


async def work(options: str) -> None:
    given: dict[str, Any] = json.loads(options)
    tuned = app_of(**given["PsycopgConnector"])
    async with tuned.open_async():
        await tuned.run_worker_async(**given["run_worker_async"])


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    asyncio.run(COMMANDS[command](*arguments))
