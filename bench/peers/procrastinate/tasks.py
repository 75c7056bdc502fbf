# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,attr-defined"
# Its packages are in the virtual environment that runs it, not in ours.
"""Procrastinate's tasks, and the app of its own command: `procrastinate --app tasks.app worker`."""

from __future__ import annotations

import asyncio
import time

import procrastinate


def app_of(**connector: int) -> procrastinate.App:
    """An app with these tasks. The database is that of PGHOST, PGPORT, ..."""
    made = procrastinate.App(connector=procrastinate.PsycopgConnector(**connector))
    made.task(name="noop")(noop)
    made.task(name="nap")(nap)
    made.task(name="started")(started)
    return made


async def noop(id: int = 0) -> None:
    pass


async def nap(id: int = 0) -> None:
    await asyncio.sleep(0.005)


async def started(id: str, seconds: float = 0) -> None:
    print("started", id, time.time(), flush=True)
    await asyncio.sleep(seconds)


app = app_of()
