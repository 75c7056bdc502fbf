"""Retry strategies: how long to wait after each failed attempt.

A strategy is any callable that takes the number of attempts used so far (1 after
the first failure) and returns the wait in seconds, as a timedelta or as a text such as
"90s", or None to give up. Without one, a job waits exp(min(10, attempts)) seconds: 2.7 s,
7.4 s, 20 s, 55 s, 2.5 min, 6.7 min, 18 min, 50 min, 2.3 h, then 6.1 h each time. (The
database computes this default, in `_settle_jobs.sql`.)
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from datetime import timedelta

Delay = float | timedelta | str
Strategy = Callable[[int], Delay | None]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_WORDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|(?:second|minute|hour|day|week)s?|s|min|m|h|d|w)", re.ASCII)
_LONGEST = 100 * 365.25 * 86400
"""In seconds. Longer waits would at some time leave the range of PostgreSQL's times."""


def seconds(delay: Delay) -> float:
    """A delay in seconds, at most 100 years; a negative one counts as 0.

    Raises ValueError or TypeError for a value that is no delay.
    """
    if isinstance(delay, str):
        given = in_seconds(delay)
    elif isinstance(delay, timedelta):
        given = delay.total_seconds()
    elif isinstance(delay, bool) or math.isnan(delay):
        raise ValueError(f"{delay!r} is not a duration; {_FORMS}")
    else:
        given = float(delay)
    return min(_LONGEST, max(0.0, given))


def in_seconds(text: str, *, needs_unit: bool = False) -> float:
    """`90`, `90s`, `10m`, `1h30m`, `2d`, `500ms`, `1 minute` in seconds. Raises ValueError.

    needs_unit  refuses a number alone, which may be meant as days
    """
    given = text.strip().lower()
    if _NUMBER.fullmatch(given):
        if needs_unit and float(given):
            raise NoUnitError(f"{text!r} has no unit; write {given}d or {given}s")
        given += "s"
    parts = _PART.findall(given)
    if not parts or _PART.sub("", given).strip():
        raise ValueError(f"{text!r} is not a duration; {_FORMS}")
    return sum(float(amount) * (_UNITS.get(unit) or _WORDS[unit.rstrip("s")]) for amount, unit in parts)


class NoUnitError(ValueError):
    """A duration is a number alone."""


_FORMS = "use for instance 90s, 10m, 1h30m or 2d"


def exponential(
    first: Delay = 1.0, *, factor: float = 2.0, maximum: Delay = 3600.0, jitter: float = 0.1
) -> Strategy:
    """`first`, then `factor` times the previous wait, at most `maximum`, varied by +-`jitter`."""
    start, most = seconds(first), seconds(maximum)
    if not factor > 0:
        raise ValueError(f"factor is {factor}; it must be more than 0.")
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter is {jitter}; it must be 0 to 1.")

    def strategy(attempts: int) -> float:
        try:
            wait = min(most, start * factor ** (attempts - 1))
        except OverflowError:
            wait = most
        return wait * random.uniform(1 - jitter, 1 + jitter)

    return strategy


def constant(delay: Delay) -> Strategy:
    """The same wait each time."""
    wait = seconds(delay)
    return lambda attempts: wait


def delays(waits: Sequence[Delay]) -> Strategy:
    """These waits in turn, then give up: `delays([1, 60, 600])` makes four attempts."""
    listed = [seconds(wait) for wait in waits]
    return lambda attempts: listed[attempts - 1] if attempts <= len(listed) else None
