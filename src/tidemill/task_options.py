"""The options of a task, checked where the task is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypedDict

from tidemill import retry as strategies
from tidemill.errors import TaskLoadError
from tidemill.keeps import NONE, Keep, read_keep
from tidemill.limits import Limit, TaskLimit, read_limit
from tidemill.retry import Delay, Strategy, seconds
from tidemill.schedule import Every, Missed, Schedule, read_schedule


class TaskOptions(TypedDict, total=False):
    """The options of `task`, which describes them."""

    max_attempts: int | None
    retry: Strategy | None
    timeout: Delay | None
    queue: str | None
    priority: int | None
    keep: Keep | None
    keep_result: bool | None
    keep_payload: bool | None
    limit: TaskLimit | None
    every: Every | None
    cron: str | None
    timezone: str | None
    missed: Missed | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one task, checked."""

    max_attempts: int | None = None
    retry: Strategy | None = None
    timeout: float | None = None
    """In seconds."""
    queue: str | None = None
    priority: int | None = None
    keep: int | None = None
    """As a number: see `keeps.py`."""
    keep_result: bool = False
    keep_payload: bool = True
    schedule: Schedule | None = None
    limit: Limit | str | None = None


def read_options(identifier: Any, options: Mapping[str, Any]) -> Settings:
    """The options of a task. Raises TaskLoadError, which names the option, its value and the rule."""
    if not isinstance(identifier, str):
        raise TaskLoadError(
            f"A task's name must be a text, not {identifier!r}: write @app.task, or @app.task('name', ...)."
        )
    if not 1 <= len(identifier) <= 128:
        raise TaskLoadError(
            f"The task name {identifier[:40]!r} has {len(identifier)} characters; 1 to 128 are allowed."
        )
    unknown = [name for name in options if name not in TaskOptions.__annotations__]
    if unknown:
        known = ", ".join(TaskOptions.__annotations__)
        raise TaskLoadError(f"Task {identifier!r} has an unknown option {unknown[0]!r}; known are {known}.")
    given = {name: value for name, value in options.items() if value is not None}
    for name, check in _CHECKS.items():
        if name in given:
            check(identifier, name, given[name])
    if given.get("keep_result") and "keep" in given and read_keep(given["keep"]) == NONE:
        raise TaskLoadError(
            f"Task {identifier!r} has keep_result=True and keep='none', but a result is kept in the history: "
            "leave keep out, or say how long."
        )
    limit = read_limit(identifier, options.get("limit"))
    if limit is not None and "queue" in given:
        raise TaskLoadError(
            f"Task {identifier!r} has a limit and the queue {given['queue']!r}; a job has one of them. "
            "limit=Limit(1, per=...) keeps jobs one at a time, too."
        )
    return Settings(
        given.get("max_attempts"),
        given.get("retry"),
        seconds(given["timeout"]) if "timeout" in given else None,
        given.get("queue"),
        given.get("priority"),
        read_keep(given["keep"]) if "keep" in given else None,
        given.get("keep_result", False),
        given.get("keep_payload", True),
        read_schedule(
            identifier, **{name: options.get(name) for name in ("every", "cron", "timezone", "missed")}
        ),
        limit,
    )


def _refuse(identifier: str, name: str, value: object, rule: str) -> NoReturn:
    raise TaskLoadError(f"{name} {value!r} of task {identifier!r} {rule}.")


def _whole(least: int, most: int) -> Callable[[str, str, Any], None]:
    def check(identifier: str, name: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            _refuse(identifier, name, value, "is not an integer")
        if not least <= value <= most:
            _refuse(identifier, name, value, f"is out of range: {least} to {most}")

    return check


def _check_retry(identifier: str, name: str, value: Any) -> None:
    if value in (strategies.exponential, strategies.constant, strategies.delays):
        _refuse(identifier, name, value.__name__, f"must be called: write retry={value.__name__}(...)")
    if not callable(value) or isinstance(value, type):
        _refuse(
            identifier,
            name,
            value,
            "is not a retry strategy. It says how long to wait, for instance retry=exponential(first=1) from "
            "tidemill.retry; for the number of attempts use max_attempts, for instance max_attempts=3",
        )


def _check_timeout(identifier: str, name: str, value: Any) -> None:
    try:
        wait = seconds(value)
    except (ValueError, TypeError):
        _refuse(
            identifier, name, value, "is not a time: use seconds, a timedelta, or for instance '30s' or '5m'"
        )
    if wait <= 0:
        _refuse(identifier, name, value, "must be more than 0 seconds")


def _check_queue(identifier: str, name: str, value: Any) -> None:
    if not isinstance(value, str):
        _refuse(identifier, name, value, "is not a string")
    if not 1 <= len(value) <= 128:
        _refuse(identifier, name, value[:40], f"has {len(value)} characters; 1 to 128 are allowed")


def _check_keep(identifier: str, name: str, value: Any) -> None:
    try:
        read_keep(value)
    except ValueError as error:
        raise TaskLoadError(f"{name} of task {identifier!r}: {error}.") from error


def _check_flag(identifier: str, name: str, value: Any) -> None:
    if not isinstance(value, bool):
        _refuse(identifier, name, value, "is not True or False")


_CHECKS: dict[str, Callable[[str, str, Any], None]] = {
    "max_attempts": _whole(1, 32767),
    "retry": _check_retry,
    "timeout": _check_timeout,
    "queue": _check_queue,
    "priority": _whole(-32768, 32767),
    "keep": _check_keep,
    "keep_result": _check_flag,
    "keep_payload": _check_flag,
}
