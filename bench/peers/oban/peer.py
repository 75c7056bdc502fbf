# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Oban: schema | add JOBS | worker OPTIONS, which are JSON. The database is that of DATABASE_URL."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from oban import Oban
from oban.schema import install
from psycopg_pool import AsyncConnectionPool
from tasks import Noop


def pool(**options: Any) -> AsyncConnectionPool:
    return AsyncConnectionPool(os.environ["DATABASE_URL"], open=False, **options)


async def schema() -> None:
    async with pool() as connections:
        await install(connections)


async def add(jobs: str) -> None:
    async with pool() as connections:
        oban = Oban(pool=connections)
        new = [Noop.new({"id": number}) for number in range(int(jobs))]
        started = time.perf_counter()
        await oban.enqueue_many(new)
        print(time.perf_counter() - started)


async def work(options: str) -> None:
    given: dict[str, Any] = json.loads(options)
    async with (
        pool(**given["AsyncConnectionPool"]) as connections,
        Oban(pool=connections, **given["Oban"]),
    ):
        await asyncio.Event().wait()


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    # Its own command uses uvloop, too.
    uvloop.run(COMMANDS[command](*arguments))
