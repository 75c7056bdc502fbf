"""Looks at batches that are open, and tasks that keep them so."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from tidemill import App, JobContext

Row = tuple[Any, ...]


def rows(connection: psycopg.Connection) -> list[Row]:
    return connection.execute("select id, attempts, locked_by from tidemill._jobs order by id").fetchall()


def locked(connection: psycopg.Connection) -> set[int]:
    """Jobs whose rows somebody's open transaction holds."""
    with connection.transaction(force_rollback=True):
        free = connection.execute("select id from tidemill._jobs for update skip locked").fetchall()
        jobs = connection.execute("select id from tidemill._jobs").fetchall()
    return {job for (job,) in jobs} - {job for (job,) in free}


def lane_of(connection: psycopg.Connection, job_id: int) -> str:
    """How a running job was claimed: row locks are not to be seen."""
    [(locked_by,)] = connection.execute(
        "select locked_by from tidemill._jobs where id = %s", [job_id]
    ).fetchall()
    return "express" if locked_by is None else "lease"


class Gates:
    """A task `waits` whose jobs say that they began, and end when they may."""

    def __init__(self, app: App) -> None:
        self.begun: list[tuple[str, int]] = []
        self.opened = asyncio.Event()

        @app.task
        async def waits(payload: str, job: JobContext) -> None:
            self.begun.append((payload, job.attempt))
            await self.opened.wait()

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.begun)


async def nothing(payload: Any) -> None: ...


def failures(connection: psycopg.Connection) -> list[Row]:
    """Of jobs that wait for their next attempt, which is an hour away."""
    return connection.execute(
        "select last_error, attempts from tidemill._jobs where locked_at is null and last_error is not null"
        " and run_at between now() + interval '55 minutes' and now() + interval '65 minutes' order by id"
    ).fetchall()


def free_queues(connection: psycopg.Connection) -> list[str]:
    found = connection.execute("select queue_name from tidemill._queues where locked_at is null order by 1")
    return [name for (name,) in found]
