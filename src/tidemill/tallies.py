"""Tallies: what has become of a worker's attempts, by task, and how long they ran and waited."""

from __future__ import annotations

import time
from collections import deque
from math import frexp
from typing import Any

BUCKETS = 32
"""Of a histogram: the first one has times below FIRST_BUCKET, each further one those below twice as much."""
FIRST_BUCKET = 2.0**-13
"""In seconds."""
_FIRST_EXPONENT = -13
LONGEST_WAIT = 10 * 365.25 * 86400
"""In seconds. A longer wait counts as this one: a run_at in antiquity must not be the whole sum."""
# From 1970 to 2000.
_EPOCH = 946_684_800


Counts = dict[str, Any]
"""What a tally has counted, by name: numbers, and the buckets of histograms."""


def bucket(seconds: float) -> int:
    """The bucket of a time, from 0 on; the last one has all that are longer."""
    if seconds < FIRST_BUCKET:
        return 0
    return min(BUCKETS - 1, frexp(seconds)[1] - _FIRST_EXPONENT)


class Tally:
    """The attempts of one task that have ended since the worker began.

    Belongs to the event loop, which only ever adds: so another thread may read it at any time, and what it
    misses it finds the next time.
    """

    __slots__ = (
        "_longest",
        "_records",
        "cancelled",
        "done",
        "failed",
        "identifier",
        "retried",
        "run_seconds",
        "runs",
        "wait_seconds",
        "waits",
    )

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.done = 0
        self.failed = 0
        self.retried = 0
        self.cancelled = 0
        self.run_seconds = 0.0
        self.wait_seconds = 0.0
        self.runs = [0] * BUCKETS
        """How many ran how long, by bucket."""
        self.waits = [0] * BUCKETS
        # What a run must exceed to be the longest since `take_longest`.
        self._longest = 0.0
        self._records: deque[float] = deque()

    def ended(self, ran: float, waited: float) -> None:
        """Counts the times of one attempt. What became of it, the caller counts."""
        self.run_seconds += ran
        self.note_longest(ran)
        self.runs[bucket(ran)] += 1
        # The claim's clock may be a moment behind.
        self.wait_seconds += min(LONGEST_WAIT, max(0.0, waited))
        self.waits[bucket(waited)] += 1

    def counts(self) -> Counts:
        """All that it has counted until now."""
        return {
            "done": self.done,
            "failed": self.failed,
            "retried": self.retried,
            "cancelled": self.cancelled,
            "run_seconds": self.run_seconds,
            "wait_seconds": self.wait_seconds,
            "runs": self.runs.copy(),
            "waits": self.waits.copy(),
        }

    def note_longest(self, seconds: float) -> None:
        """Takes note of a run that may be the longest."""
        if seconds > self._longest:
            self._longest = seconds
            self._records.append(seconds)

    def take_longest(self) -> float:
        """The longest run since the last call; for one other thread."""
        longest = 0.0
        while self._records:
            longest = max(longest, self._records.popleft())
        # A run that is noted in between is in the records of the next call.
        self._longest = 0.0
        return longest


def plus(counts: Counts, others: Counts, sign: int = 1) -> Counts:
    """The sums of both, or what the first have more."""
    return {
        name: [a + sign * b for a, b in zip(value, others[name], strict=True)]
        if isinstance(value, list)
        else value + sign * others[name]
        for name, value in counts.items()
    }


class Tallies:
    """The tallies of one worker, and the database's clock, by which waiting times are told."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self.clock = time.time() - _EPOCH - time.perf_counter()
        """What `time.perf_counter` lacks to the database's seconds since 2000, to about a round trip.

        Each claim sets it."""

    def of(self, identifier: str) -> Tally:
        """The tally of a task."""
        tally = self._tallies.get(identifier)
        if tally is None:
            tally = self._tallies[identifier] = Tally(identifier)
        return tally

    def all(self) -> list[Tally]:
        """All of them. Thread-safe."""
        return list(self._tallies.values())
