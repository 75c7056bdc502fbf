"""Retry strategies: how long to wait after each failed attempt.

A strategy is any callable that takes the number of attempts used so far (1 after
the first failure) and returns the wait in seconds or as a timedelta, or None to
give up. Without one, a job waits exp(min(10, attempts)) seconds: 2.7 s, 7.4 s,
20 s, 55 s, 2.5 min, 6.7 min, 18 min, 50 min, 2.3 h, then 6.1 h each time. (The
database computes this default, in `_settle_jobs.sql`.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

Delay = float | timedelta
Strategy = Callable[[int], Delay | None]


_LONGEST = 100 * 365.25 * 86400
"""In seconds. Longer waits would at some time leave the range of PostgreSQL's times."""


def seconds(delay: Delay) -> float:
    """A delay in seconds, at most 100 years; a negative one counts as 0."""
    return min(_LONGEST, max(0.0, delay.total_seconds() if isinstance(delay, timedelta) else float(delay)))


def exponential(
    first: Delay = 1.0, *, factor: float = 2.0, maximum: Delay = 3600.0, jitter: float = 0.1
) -> Strategy:
    """`first`, then `factor` times the previous wait, at most `maximum`, varied by +-`jitter`."""
    start, most = seconds(first), seconds(maximum)

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
