"""Crontab files in Graphile Worker's syntax: how they are read, and which minutes they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

from tidemill.actions.crontab_mistakes import mistake_in_command, mistake_in_line
from tidemill.errors import CrontabError, InvalidJobError
from tidemill.payloads import encode_payload
from tidemill.schedule import time_phrase

CronKeyMode = Literal["replace", "preserve_run_at"]

_LINE = re.compile(r"([0-9*/,-]+)\s+([0-9*/,-]+)\s+([0-9*/,-]+)\s+([0-9*/,-]+)\s+([0-9*/,-]+)\s+(.+)")
_COMMAND = re.compile(
    r"(?P<task>[_a-zA-Z][_a-zA-Z0-9:/-]*)(?:\s+\?(?P<options>\S+))?(?:\s+(?P<payload>\{.*))?"
)
_IDENTIFIER = re.compile(r"[_a-zA-Z][-_a-zA-Z0-9]*")
_QUEUE = re.compile(r"[-a-zA-Z0-9_:]{1,128}")
_WHOLE = re.compile(r"[0-9]{1,9}")
_SIGNED = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True)
class _Range:
    name: str
    least: int
    most: int


_MINUTES = _Range("minutes", 0, 59)
_HOURS = _Range("hours", 0, 23)
_DATES = _Range("dates", 1, 31)
_MONTHS = _Range("months", 1, 12)
# Sunday is 0 and 7.
_DAYS_OF_WEEK = _Range("days of week", 0, 7)


@dataclass(frozen=True)
class CrontabItem:
    """One line of a crontab: which job to add, and in which minutes, in UTC."""

    task: str
    minutes: frozenset[int]
    hours: frozenset[int]
    dates: frozenset[int]
    months: frozenset[int]
    days_of_week: frozenset[int]
    """0 is Sunday."""
    identifier: str
    """Under this name the database keeps when the item was last added; default: the task."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    backfill: timedelta = timedelta(0)
    """At the next start of a worker, jobs of missed minutes are added if they are not older than this."""
    max_attempts: int | None = None
    queue_name: str | None = None
    job_key: str | None = None
    job_key_mode: CronKeyMode = "replace"
    priority: int | None = None

    def matches(self, minute: datetime) -> bool:
        """Whether the item is due in the minute that this time is in."""
        at = minute.astimezone(UTC)
        if at.minute not in self.minutes or at.hour not in self.hours or at.month not in self.months:
            return False
        by_date = at.day in self.dates
        by_day_of_week = at.isoweekday() % 7 in self.days_of_week
        # As in every cron: if both are restricted, one of them is enough.
        if len(self.dates) < 31 and len(self.days_of_week) < 7:
            return by_date or by_day_of_week
        return by_date and by_day_of_week


def read_crontab(source: Path | str) -> list[CrontabItem]:
    """The items of a crontab: a file, or its text.

    Raises CrontabError; for a file it names the file.
    """
    if isinstance(source, str):
        return parse_crontab(source)
    try:
        return parse_crontab(source.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise CrontabError(f"The crontab {str(source)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CrontabError(f"The crontab {str(source)!r} is not UTF-8: {error}.") from error
    except CrontabError as error:
        raise CrontabError(f"{source}: {error}") from error


def parse_crontab(text: str) -> list[CrontabItem]:
    """The items of a crontab, in its order. Raises CrontabError, which names the line."""
    items: list[CrontabItem] = []
    lines: dict[str, int] = {}
    # Not splitlines, which would split a payload at some other characters, too.
    for number, line in enumerate(re.split(r"\r?\n", text), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        item = _parse_line(line, number)
        if item.identifier in lines:
            raise CrontabError(
                f"Lines {lines[item.identifier]} and {number} of crontab have the same identifier "
                f"'{item.identifier}'; give one of them another with '?id='."
            )
        lines[item.identifier] = number
        items.append(item)
    return items


def _parse_line(line: str, number: int) -> CrontabItem:
    fields = _LINE.fullmatch(line)
    if fields is None:
        raise CrontabError(
            f"Could not process line '{number}' of crontab: '{line}'; {mistake_in_line(line)}."
        )
    *times, command = fields.groups()
    ranges = (_MINUTES, _HOURS, _DATES, _MONTHS, _DAYS_OF_WEEK)
    minutes, hours, dates, months, days_of_week = (
        _parse_field(text, among, number) for text, among in zip(times, ranges, strict=True)
    )
    parts = _COMMAND.fullmatch(command)
    if parts is None:
        raise CrontabError(
            f"Invalid command specification in line {number} of crontab: {mistake_in_command(command)}."
        )
    task = parts["task"]
    if len(task) > 128:
        raise CrontabError(f"The task name on line {number} of crontab has more than 128 characters.")
    options = _parse_options(parts["options"] or "", number)
    return CrontabItem(
        task,
        minutes,
        hours,
        dates,
        months,
        frozenset(day % 7 for day in days_of_week),
        payload=_parse_payload(parts["payload"], task, number),
        **{"identifier": task, **options},
    )


def _parse_field(text: str, among: _Range, number: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found |= _parse_part(part, among, number)
    return frozenset(found)


def _parse_part(text: str, among: _Range, number: int) -> set[int]:
    place = f"in {among.name} range in line {number} of crontab"
    # A star means each day once, so it leaves out 7, the second number of Sunday.
    every = range(among.least, 7 if among is _DAYS_OF_WEEK else among.most + 1)
    if text == "*":
        return set(every)
    if match := re.fullmatch(r"\*/([0-9]+)", text):
        divisor = _number(match[1])
        if divisor < 1:
            raise CrontabError(
                f"Invalid wildcard expression '{text}' {place}: divisor '{match[1]}' expected to be "
                "greater than zero"
            )
        return set(every[::divisor])
    if match := re.fullmatch(r"([0-9]+)-([0-9]+)", text):
        first, last = (_within(end, among, place) for end in match.groups())
        if last <= first:
            raise CrontabError(
                f"Invalid range '{text}' {place}: '{match[2]}' expected to be greater than '{match[1]}'"
            )
        return set(range(first, last + 1))
    if re.fullmatch("[0-9]+", text):
        return {_within(text, among, place)}
    raise CrontabError(f"Unsupported expression '{text}' {place}: use a number, 'a-b', '*' or '*/n'")


def _within(text: str, among: _Range, place: str) -> int:
    value = _number(text)
    if among.least <= value <= among.most:
        return value
    size = "large" if value > among.most else "small"
    raise CrontabError(
        f"Too {size} value '{text}' {place}: expected values in the range {among.least}-{among.most}."
    )


def _number(text: str) -> int:
    # Python refuses numbers with very many digits; this one is above every limit, too.
    return int(text) if len(text) < 10 else 10**9


def _parse_options(query: str, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _pairs(query, number):
        if key not in _OPTIONS:
            raise CrontabError(
                f"Options on line {number} of crontab contains unsupported key '{key}'; supported keys are: "
                f"{', '.join(map(repr, _OPTIONS))}."
            )
        name, read, expected = _OPTIONS[key]
        if name in found:
            raise CrontabError(f"Options on line {number} of crontab contains key '{key}' more than once.")
        try:
            found[name] = read(value)
        except ValueError as error:
            raise CrontabError(
                f"Options on line {number} of crontab contains invalid value '{value}' for key '{key}'; "
                f"expected {expected}."
            ) from error
    return found


def _pairs(query: str, number: int) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise CrontabError(f"Options on line {number} of crontab cannot be read: {error}.") from error


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(text)
        return text

    return read


def _max_attempts(text: str) -> int:
    value = int(_matching(_WHOLE)(text))
    if value not in range(1, 32768):
        raise ValueError(text)
    return value


def _priority(text: str) -> int:
    value = int(_matching(_SIGNED)(text))
    if value not in range(-32768, 32768):
        raise ValueError(text)
    return value


def _job_key(text: str) -> str:
    # `encode` raises a ValueError for half of a surrogate pair.
    if not 1 <= len(text) <= 512 or b"\0" in text.encode():
        raise ValueError(text)
    return text


def _job_key_mode(text: str) -> str:
    if text not in ("replace", "preserve_run_at"):
        raise ValueError(text)
    return text


# Refuse here what PostgreSQL would refuse; otherwise one line would hold up all others forever.
_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "id": ("identifier", _matching(_IDENTIFIER), "a letter or '_', then letters, digits, '_' and '-'"),
    "fill": ("backfill", time_phrase, "a time phrase such as '4h30m' or '1w2d'"),
    "max": ("max_attempts", _max_attempts, "a number of attempts, 1 to 32767"),
    "queue": ("queue_name", _matching(_QUEUE), "at most 128 letters, digits, '_', '-' and ':'"),
    "jobKey": ("job_key", _job_key, "1 to 512 characters"),
    "jobKeyMode": ("job_key_mode", _job_key_mode, "'replace' or 'preserve_run_at'"),
    "priority": ("priority", _priority, "a number from -32768 to 32767"),
}


def _parse_payload(text: str | None, task: str, number: int) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        payload = _read_json5(text)
        # JSON5 has values that JSON and tasks do not: NaN, infinity, half of a surrogate pair.
        encode_payload(payload, task)
    except (ValueError, RecursionError, InvalidJobError) as error:
        raise CrontabError(f"Failed to parse JSON5 payload on line {number} of crontab: {error}") from error
    if not isinstance(payload, dict):
        raise CrontabError(f"Failed to parse JSON5 payload on line {number} of crontab: it is not an object")
    return payload


def _read_json5(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # Imported only for payloads that are not plain JSON, because the import is slow.
        import json5

        return json5.loads(text)
