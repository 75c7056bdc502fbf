# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Chancy: schema QUEUE | add JOBS | worker OPTIONS, in JSON. The database is that of DATABASE_URL."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from chancy import Chancy, Queue, Worker
from tasks import chancy, noop


async def schema(queue: str) -> None:
    async with chancy:
        await chancy.migrate()
        await chancy.declare(Queue(**json.loads(queue)))


async def add(jobs: str) -> None:
    async with chancy:
        new = [noop.job.with_kwargs(id=number) for number in range(int(jobs))]
        started = time.perf_counter()
        async for _ in chancy.push_many(new):
            pass
        print(time.perf_counter() - started)


async def work(options: str) -> None:
    given: dict[str, Any] = json.loads(options)
    logger = logging.getLogger("chancy")
    logger.setLevel(given["log"])
    async with Chancy(os.environ["DATABASE_URL"], log=logger) as quiet:
        await quiet.declare(Queue(**given["Queue"]), upsert=True)
        async with Worker(quiet) as worker:
            await worker.wait_for_shutdown()


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    asyncio.run(COMMANDS[command](*arguments))
