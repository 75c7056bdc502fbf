"""For `tidemill top`: how many attempts a minute end, by counts that heartbeats add to."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, NamedTuple

# Workers add their counts every 5 seconds: over less than a few of these a rate jumps.
_SPAN = 15.0
# The database says what it has of the last minutes alone: after a longer gap nothing can be compared.
_LONGEST_GAP = 100.0
_MINUTE = 60


class Ends(NamedTuple):
    """How many attempts ended in which way; failed are those that failed for good."""

    done: float = 0
    retried: float = 0
    failed: float = 0

    @property
    def all(self) -> float:
        """All of them."""
        return self.done + self.retried + self.failed

    def plus(self, other: Ends, times: float = 1) -> Ends:
        """The sum of this one and so many times the other."""
        return Ends(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))


NO_ENDS = Ends()


class Rates(NamedTuple):
    """Ends a minute by task, and over how many seconds they were counted."""

    seconds: float
    tasks: dict[str, Ends]


_Counts = dict[tuple[str, int], Ends]
"""By task and minute."""


class Speedometer:
    """Compares each frame with those of the last seconds; the first ones stand on whole minutes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[datetime, _Counts]] = deque()

    def read(self, at: datetime, rows: list[dict[str, Any]]) -> Rates:
        """The rates at a time, by the rows of `top_tasks.sql`."""
        now = {
            (row["task"], minute): Ends(*counts) for row in rows for minute, *counts in row["minutes"] or ()
        }
        if self._seen and not 0 < (at - self._seen[-1][0]).total_seconds() < _LONGEST_GAP:
            self._seen.clear()
        self._seen.append((at, now))
        # The first of them is the last one that is long enough ago.
        while len(self._seen) > 2 and (at - self._seen[1][0]).total_seconds() >= _SPAN:
            self._seen.popleft()
        then, before = self._seen[0]
        seconds = (at - then).total_seconds()
        if seconds < _SPAN:
            return _by_minutes(at, now)
        return _a_minute(seconds, {key: ends.plus(before.get(key, NO_ENDS), -1) for key, ends in now.items()})


def _by_minutes(at: datetime, counts: _Counts) -> Rates:
    """The rates since the minute before this one began."""
    first = int(at.timestamp()) // _MINUTE * _MINUTE - _MINUTE
    return _a_minute(at.timestamp() - first, {key: ends for key, ends in counts.items() if key[1] >= first})


def _a_minute(seconds: float, counts: _Counts) -> Rates:
    tasks: dict[str, Ends] = {}
    for (task, _), ends in counts.items():
        tasks[task] = tasks.get(task, NO_ENDS).plus(ends, _MINUTE / seconds)
    return Rates(seconds, tasks)
