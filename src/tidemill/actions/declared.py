"""Schedules that tasks declare, kept as actions in the database."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import psycopg

from tidemill.database.sql import query
from tidemill.errors import TaskLoadError
from tidemill.tasks import Task

logger = logging.getLogger("tidemill")


def declare_schedules(connection: psycopg.Connection, tasks: Mapping[str, Task[Any]]) -> None:
    """Brings the actions that these tasks declare in line with the code: all of them, or none.

    Each task with a schedule has an action: it is added if missing, changed with the schedule,
    and deleted when the code has no schedule any more. Actions of other tasks stay as they are.

    Raises TaskLoadError for a schedule that the database refuses, and psycopg.Error.
    """
    plain = [identifier for identifier, task in tasks.items() if task.schedule is None]
    with connection.transaction():
        # A worker that was faster has committed when we get the lock, and our snapshot must show its changes.
        connection.execute("set transaction isolation level read committed")
        # In one order everywhere; otherwise two workers would deadlock.
        for identifier in sorted(tasks.keys() - set(plain)):
            _declare(connection, tasks[identifier])
        for action_id, identifier in connection.execute(
            "select action_id, identifier from tidemill._undeclare_actions(%s::pg_catalog.text[])", [plain]
        ).fetchall():
            logger.info("task %s has no schedule any more: action %s is deleted", identifier, action_id)


def _declare(connection: psycopg.Connection, task: Task[Any]) -> None:
    schedule = task.schedule
    assert schedule is not None
    try:
        [(action_id, outcome)] = connection.execute(
            "select action_id, outcome from tidemill._declare_action(%s, %s, %s, %s, %s)",
            [task.identifier, schedule.every, schedule.cron, schedule.timezone, schedule.missed],
        ).fetchall()
        own = {"queue_name": task.queue, "priority": task.priority}
        options = {name: value for name, value in own.items() if value is not None}
        if options:
            changed = connection.execute(
                query("declare_job_options"), {"action_id": action_id, "options": json.dumps(options)}
            ).fetchall()
            outcome = "changed" if changed and outcome == "kept" else outcome
    except (psycopg.DataError, psycopg.NotSupportedError, psycopg.errors.NameTooLong) as error:
        words = [error.diag.message_primary, error.diag.message_detail, error.diag.message_hint]
        raise TaskLoadError(
            f"The schedule of task {task.identifier!r} is refused: "
            + " ".join(word if word.endswith("?") else word.rstrip(".") + "." for word in words if word)
        ) from error
    if outcome != "kept":
        when = f"every {schedule.every}" if schedule.every is not None else f"cron {schedule.cron}"
        logger.info(
            "task %s runs by itself: %s (%s); action %s is %s",
            task.identifier,
            when,
            schedule.timezone or "UTC",
            action_id,
            outcome,
        )
