"""Tells the database what a worker's tasks are: the schemas of their payloads, and their options."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec
import psycopg

from tidemill.database.words import in_short
from tidemill.keeps import keep_text
from tidemill.limits import Limit
from tidemill.retry import seconds
from tidemill.schemas import payload_schema
from tidemill.tasks import Task
from tidemill.texts import name_of

logger = logging.getLogger("tidemill")

# A schema is for forms and checks. One that is larger describes nothing that anybody fills in by hand.
_LARGEST_SCHEMA = 32_768
_LONGEST_SUMMARY = 200


def publish(connection: psycopg.Connection, tasks: Mapping[str, Task[Any]]) -> None:
    """Writes what has changed of these tasks; a failure is logged, and does no harm."""
    told = msgspec.json.encode([_told(task) for task in tasks.values()]).decode()
    try:
        connection.execute("select tidemill._publish_tasks(%s::pg_catalog.json)", [told])
    except psycopg.Error as error:
        logger.warning("the schemas of this worker's tasks are not published: %s", in_short(error))


def _told(task: Task[Any]) -> dict[str, Any]:
    return {
        "identifier": task.identifier,
        "payload_schema": _schema(task),
        "options": _options(task),
        "summary": _summary(task),
    }


def _schema(task: Task[Any]) -> msgspec.Raw | None:
    try:
        text = msgspec.json.encode(payload_schema(task._shape))
    except Exception as error:
        # It has code of the user's types, and a task works without a schema.
        logger.debug("task %s has no schema: %s: %s", task.identifier, name_of(error), error)
        return None
    # PostgreSQL's jsonb cannot hold NUL.
    if len(text) > _LARGEST_SCHEMA or b"\\u0000" in text:
        logger.debug("task %s: its schema is not published, since it is too large", task.identifier)
        return None
    return msgspec.Raw(text)


def _options(task: Task[Any]) -> dict[str, Any]:
    """What was given to the task's decorator, but for the retry strategy, which is code."""
    options = {
        "max_attempts": task.max_attempts,
        "timeout": task.timeout,
        "queue": task.queue,
        "priority": task.priority,
        "schedule": None if task.schedule is None else _given(asdict(task.schedule)),
        "keep": None if task.keep is None else keep_text(task.keep),
        "keep_result": task.keep_result or None,
        "keep_payload": None if task.keep_payload else False,
        "limit": _limit(task.limit),
    }
    return _given(options)


def _limit(limit: Limit | str | None) -> dict[str, Any] | str | None:
    """A limit with the fields of the view tidemill.limits, its period in seconds; or its name."""
    if not isinstance(limit, Limit):
        return limit
    told: dict[str, Any] = {"concurrency": limit.concurrency, "per": limit.per}
    if (rate := limit.rate) is not None:
        told |= {"rate": rate.count, "period": seconds(rate.period), "burst": rate.burst}
    return _given(told)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _summary(task: Task[Any]) -> str | None:
    function: Any = task.function
    while isinstance(function, functools.partial):
        function = function.func
    text = inspect.cleandoc(function.__doc__ or "").strip()
    first = text.split("\n", 1)[0][:_LONGEST_SUMMARY].replace("\0", "")
    return first.encode(errors="replace").decode() or None
