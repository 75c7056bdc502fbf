# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""PgQueuer's tasks, for its own command: `pgq run tasks:main`. The database is that of PGHOST, PGPORT, ..."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect()))

    @pgq.entrypoint("noop")
    async def noop(job: Any) -> None:
        pass

    @pgq.entrypoint("nap")
    async def nap(job: Any) -> None:
        await asyncio.sleep(0.005)

    @pgq.entrypoint("started")
    async def started(job: Any) -> None:
        payload = json.loads(job.payload)
        print("started", payload["id"], time.time(), flush=True)
        await asyncio.sleep(payload.get("seconds", 0))

    yield pgq
