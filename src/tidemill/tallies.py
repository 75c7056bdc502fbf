"""Tallies: what has become of a worker's attempts, by task, and how long they ran and waited."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from math import frexp

BUCKETS = 40
"""Of a histogram as others see it: bucket n, from 0 on, counts times below 2 ** (n - 20) seconds."""
_LOWEST = -20
# One for each exponent that frexp tells of any time; the negative ones are at the end, as indexes are.
_EXPONENTS = 128
# Of a time that is none: the claim's clock may be a moment behind.
NO_TIME = -64
# From 1970 to 2000.
_EPOCH = 946_684_800


class Tally:
    """The attempts of one task that have ended since the worker began.

    Belongs to the event loop, which only ever adds: so another thread may read it at any time, and what it
    misses it finds the next time.
    """

    __slots__ = (
        "_records",
        "cancelled",
        "done",
        "failed",
        "identifier",
        "longest",
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
        self.runs = [0] * _EXPONENTS
        """How many ran so long: the index e has those from 2 ** (e - 1) to 2 ** e seconds."""
        self.waits = [0] * _EXPONENTS
        self.longest = 0.0
        """What a run must exceed to be the longest since `take_longest`."""
        self._records: deque[float] = deque()

    def note_longest(self, seconds: float) -> None:
        """Takes note of a run that exceeds `longest`."""
        self.longest = seconds
        self._records.append(seconds)

    def take_longest(self) -> float:
        """The longest run since the last call; for one other thread."""
        longest = 0.0
        while self._records:
            longest = max(longest, self._records.popleft())
        # A run that is noted in between is in the records of the next call.
        self.longest = 0.0
        return longest

    def ended(self, ran: float, waited: float) -> None:
        """Counts the times of one attempt. What became of it, the caller counts."""
        self.run_seconds += ran
        if ran > self.longest:
            self.note_longest(ran)
        self.runs[frexp(ran)[1]] += 1
        if waited > 0.0:
            self.wait_seconds += waited
            self.waits[frexp(waited)[1]] += 1
        else:
            self.waits[NO_TIME] += 1


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


def histogram(counts: Sequence[int]) -> list[int]:
    """The buckets of counts by exponent, as others see them."""
    buckets = [0] * BUCKETS
    for exponent in range(-_EXPONENTS // 2, _EXPONENTS // 2):
        if counts[exponent]:
            buckets[max(0, min(BUCKETS - 1, exponent - _LOWEST))] += counts[exponent]
    return buckets
