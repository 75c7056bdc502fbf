# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""PgQueuer: schema | add JOBS. The database is that of PGHOST, PGPORT, ..."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries


async def schema() -> None:
    await Queries(AsyncpgDriver(await asyncpg.connect())).install()


async def add(jobs: str) -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect()))
    count = int(jobs)
    payloads: list[bytes | None] = [json.dumps({"id": number}).encode() for number in range(count)]
    started = time.perf_counter()
    await queries.enqueue(["noop"] * count, payloads, [0] * count)
    print(time.perf_counter() - started)


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {"schema": schema, "add": add}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    asyncio.run(COMMANDS[command](*arguments))
