"""Limits that tasks have in their code, written to the database when a worker starts."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any

import psycopg

from tidemill.database.words import words
from tidemill.errors import TaskLoadError
from tidemill.limits import Limit
from tidemill.queue.limited import gate_waiting
from tidemill.retry import seconds
from tidemill.tasks import Task

logger = logging.getLogger("tidemill")

# How long a worker brings jobs under a limit that is new before it claims any; the rest follows meanwhile.
_GATING_SECONDS = 5.0


def declare_limits(
    connection: psycopg.Connection, tasks: Mapping[str, Task[Any]], *, gating_seconds: float = _GATING_SECONDS
) -> dict[str, str]:
    """Gives these tasks the limits that their code has: jobs of all producers are held to them from then on.

    Where workers have different code, that which started last is right. Returns the tasks whose limit has to
    wait for other transactions, with which these are; it waits for a second in all.

    Raises TaskLoadError for a limit that the database refuses, and psycopg.Error.
    """
    declared = {name: _told(task.limit) for name, task in tasks.items()}
    try:
        rows = connection.execute(
            "select identifier, was, becomes, waits_for from tidemill._declare_limits(%s::pg_catalog.jsonb)",
            [json.dumps(declared)],
        ).fetchall()
    except psycopg.DataError as error:
        raise TaskLoadError(words(error)) from error
    waiting: dict[str, str] = {}
    for identifier, was, becomes, waits_for in rows:
        if waits_for is not None:
            waiting[identifier] = waits_for
        elif was is None:
            logger.info("task %s is limited now: %s", identifier, becomes)
        else:
            logger.warning(
                "task %s: its limit is %s now, as the code of this worker has it; it was %s",
                identifier,
                becomes or "gone",
                was,
            )
    if any(declared.values()):
        # If a lock is in the way, the engine goes on with it.
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            gate_waiting(connection, list(tasks), gating_seconds)
    return waiting


def _told(limit: Limit | str | None) -> dict[str, Any] | None:
    if limit is None:
        return None
    if isinstance(limit, str):
        return {"name": limit}
    told: dict[str, Any] = {"concurrency": limit.concurrency, "field": limit.per}
    if (rate := limit.rate) is not None:
        told |= {"rate": rate.count, "period": f"{seconds(rate.period):.6f} seconds", "burst": rate.burst}
    return {name: value for name, value in told.items() if value is not None}
