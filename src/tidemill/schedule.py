"""Schedules that tasks declare in Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, get_args

from tidemill.errors import TaskLoadError

Every = str | float | timedelta
Missed = Literal["run_once", "skip", "backfill"]

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DAYS = {"d": 1, "w": 7}
_PHRASE = re.compile(r"(?:[0-9]+[smhdw])+")
_PART = re.compile(r"([0-9]+)([smhdw])")


@dataclass(frozen=True)
class Schedule:
    """When a task runs on its own: each `every`, or at the times of `cron`."""

    every: str | None = None
    """An interval in PostgreSQL's form. A day is a day on the time zone's clocks; an hour is 3600 s."""
    cron: str | None = None
    timezone: str | None = None
    missed: Missed = "run_once"


def time_phrase(text: str) -> timedelta:
    """`90s`, `10m`, `1h30m`, `2d`, `1w`: numbers with their units, added up. Raises ValueError."""
    days, seconds = _days_and_seconds(text)
    try:
        return timedelta(days=days, seconds=seconds)
    except OverflowError as error:
        raise ValueError(text) from error


def _days_and_seconds(text: str) -> tuple[int, int]:
    if not _PHRASE.fullmatch(text):
        raise ValueError(text)
    parts = [(int(amount), unit) for amount, unit in _PART.findall(text)]
    return (
        sum(amount * _DAYS.get(unit, 0) for amount, unit in parts),
        sum(amount * _SECONDS.get(unit, 0) for amount, unit in parts),
    )


def read_schedule(
    identifier: str,
    *,
    every: Every | None,
    cron: str | None,
    timezone: str | None,
    missed: Missed | None,
) -> Schedule | None:
    """The schedule of a task; None if it has none.

    Raises TaskLoadError. Cron lines and time zones are not checked here: the database reads them.
    """
    if every is None and cron is None:
        for name, value in (("timezone", timezone), ("missed", missed)):
            if value is not None:
                raise TaskLoadError(f"{name} {value!r} of task {identifier!r} needs `every` or `cron`.")
        return None
    if every is not None and cron is not None:
        raise TaskLoadError(f"Task {identifier!r} has both `every` and `cron`; leave one of them out.")
    texts: dict[str, Any] = {"cron": cron, "timezone": timezone}
    for name, value in texts.items():
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise TaskLoadError(f"{name} {value!r} of task {identifier!r} must be a text.")
    if missed is not None and missed not in get_args(Missed):
        raise TaskLoadError(
            f"missed {missed!r} of task {identifier!r} must be one of {', '.join(get_args(Missed))}."
        )
    return Schedule(
        None if every is None else _interval(every, identifier), cron, timezone, missed or "run_once"
    )


def _interval(every: Any, identifier: str) -> str:
    try:
        match every:
            case timedelta():
                days, seconds = every.days, every.total_seconds() - every.days * 86400
            case bool():
                raise TypeError("a truth value is no time")
            case str():
                days, seconds = _days_and_seconds(every)
            case _:
                days, seconds = 0, every
        interval = timedelta(days, seconds)
    except (ValueError, OverflowError, TypeError) as error:
        raise TaskLoadError(
            f"every {every!r} of task {identifier!r} is not a time: use for instance 90s, 10m, 1h30m or 2d, "
            "seconds, or a timedelta."
        ) from error
    if interval < timedelta(seconds=1):
        raise TaskLoadError(f"every {every!r} of task {identifier!r} must be at least 1 second.")
    parts = [f"{days} days" if days else "", _time(seconds) if seconds else ""]
    return " ".join(part for part in parts if part)


def _time(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds % size == 0:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + " seconds"
