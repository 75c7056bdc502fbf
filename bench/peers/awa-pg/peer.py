# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Awa: schema | add JOBS | worker QUEUES | worker-on-uvloop QUEUES, which are JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import awa
import uvloop

QUEUE = "bench"


@dataclass
class Noop:
    id: int = 0


@dataclass
class Nap:
    id: int = 0


@dataclass
class Started:
    id: str
    seconds: float = 0


async def schema() -> None:
    async with awa.AsyncClient(os.environ["DATABASE_URL"]) as client:
        await client.migrate()
        await client.install_queue_storage(schema="awa")


async def add(jobs: str) -> None:
    async with awa.AsyncClient(os.environ["DATABASE_URL"]) as client:
        new = [Noop(number) for number in range(int(jobs))]
        started = time.perf_counter()
        await client.enqueue_many_copy(new, queue=QUEUE)
        print(time.perf_counter() - started)


async def work(queues: str) -> None:
    client = awa.AsyncClient(os.environ["DATABASE_URL"])

    @client.task(Noop, queue=QUEUE)
    async def noop(job: Any) -> None:
        pass

    @client.task(Nap, queue=QUEUE)
    async def nap(job: Any) -> None:
        await asyncio.sleep(0.005)

    @client.task(Started, queue=QUEUE)
    async def started(job: Any) -> None:
        print("started", job.args.id, time.time(), flush=True)
        await asyncio.sleep(job.args.seconds)

    # Its README gives pairs, its other documentation gives dictionaries.
    await client.start([queue if isinstance(queue, dict) else tuple(queue) for queue in json.loads(queues)])
    await asyncio.Event().wait()


COMMANDS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "schema": schema,
    "add": add,
    "worker": work,
    "worker-on-uvloop": work,
}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    run = uvloop.run if command == "worker-on-uvloop" else asyncio.run
    run(COMMANDS[command](*arguments))
