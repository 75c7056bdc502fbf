"""Looks: when the engine looks for jobs next, and whether it asks producers to notify it."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

_FIRST_LOOK = 0.005
_BUSY_BEFORE_UNDECLARING = 0.1
_MOST_REMEMBERED = 1000

Execute = Callable[[str], None]
"""Runs a statement whose one parameter is the worker's id."""


class Looks:
    """Plans the looks of one worker. Thread-safe: `notify`; all else is the engine's.

    An idle worker is *declared*: it stands in `_listeners`, and producers notify
    it. A producer that looked there before the declaration may commit after our
    next look, and notifies nobody: so after declaring we look again at growing
    intervals, up to the poll interval.
    """

    def __init__(self, *, poll_interval: float, declares: bool) -> None:
        self._poll_interval = poll_interval
        self._declares = declares
        self._lock = threading.Lock()
        self._due: list[float] = []
        self._at = 0.0
        self._wait = poll_interval
        self._declared = False
        self._busy_since: float | None = None

    def notify(self, milliseconds: int) -> None:
        """A job is due in so many milliseconds."""
        with self._lock:
            heapq.heappush(self._due, time.monotonic() + milliseconds / 1000)
            # A flood of far-off jobs: what is forgotten here is found by a poll.
            del self._due[_MOST_REMEMBERED:]

    @property
    def next(self) -> float:
        """The time of the next look."""
        with self._lock:
            return min(self._at, self._due[0]) if self._due else self._at

    def at_once(self) -> None:
        """Look again now."""
        self._at = 0.0

    def forget_declaration(self) -> None:
        """Whatever stood in `_listeners` may be gone."""
        self._declared = False
        self._at = 0.0

    def begin(self, now: float) -> None:
        """A look begins: it serves all notifications that are due."""
        with self._lock:
            while self._due and self._due[0] <= now:
                heapq.heappop(self._due)

    def found_less(self, execute: Execute) -> None:
        """The look found less than there was room for: wait for more."""
        self._busy_since = None
        if self._declares and not self._declared:
            execute("insert into tidemill._listeners values (%s) on conflict do nothing")
            self._declared = True
            self._wait = _FIRST_LOOK
        else:
            self._wait = min(self._wait * 2, self._poll_interval)
        self._at = time.monotonic() + self._wait

    def found_enough(self, execute: Execute, *, full: bool) -> None:
        """The look filled all room (`full`: there was none): go on, or wait for a job to end."""
        now = time.monotonic()
        self._busy_since = self._busy_since or now
        if self._declared and now - self._busy_since > _BUSY_BEFORE_UNDECLARING:
            execute("delete from tidemill._listeners where worker_id = %s")
            self._declared = False
        # When full, room made by a settlement brings the next look.
        self._at = now + self._poll_interval if full else 0.0

    def nothing_for_a_while(self) -> None:
        """The look could not be made."""
        self._at = time.monotonic() + self._poll_interval
