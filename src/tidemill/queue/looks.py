"""Looks: when the engine looks for jobs next, and whether it asks producers to notify it."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tidemill.queue.marks import Place

_FIRST_LOOK = 0.005
# A worker is busy if, over this long, it never had room or found so many jobs a second. It then
# gets no notifications, which would cost the producers time.
_WINDOW = 0.1
_BUSY_RATE = 1000
_BUSY_PACE = 0.005
_MOST_REMEMBERED = 1000
# After a look that a notification caused in vain, the next one waits for so many times its duration,
# so that a flood of notifications takes up little of the engine's time.
_REST = 4
_LONGEST_REST = 0.02
# Producers tell of jobs that are due within an hour.
_FARTHEST = 3_600_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Execute = Callable[[str], None]
"""Runs a statement whose one parameter is the worker's id."""


class Looks:
    """Plans the looks of one worker. `notify` is thread-safe; all else belongs to the engine's thread.

    A worker that is not busy is *declared*: it has a row in `_listeners`, and producers
    notify it. A producer that read the table before the declaration may commit after our
    next look, without a notification. So after declaring we look again at growing
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
        self._is_regular = True
        self._is_told = False
        self._is_busy = False
        self._began = 0.0
        self._rest_until = 0.0
        self._window_began = 0.0
        self._found = 0
        self._had_room = False

    def notify(self, milliseconds: int) -> None:
        """A job is due in so many milliseconds."""
        with self._lock:
            heapq.heappush(self._due, time.monotonic() + milliseconds / 1000)
            # In a flood of notifications forget some: a poll finds their jobs.
            del self._due[_MOST_REMEMBERED:]

    @property
    def next(self) -> float:
        """The time of the next look."""
        with self._lock:
            return min(self._at, max(self._due[0], self._rest_until)) if self._due else self._at

    @property
    def is_idle(self) -> bool:
        """Whether producers are asked to notify: so regular looks make up for what they could not tell of."""
        return self._declared

    def at_once(self) -> None:
        """Plans the next look for now."""
        self._at = 0.0

    def forget_declaration(self) -> None:
        """The worker's row in `_listeners` may be gone: declares it again."""
        self._declared = False
        self._at = 0.0

    def begin(self, now: float) -> bool:
        """Begins a look, which serves all notifications that are due; False if it is only for these."""
        self._began = now
        self._is_regular = now >= self._at
        self._is_told = False
        with self._lock:
            while self._due and self._due[0] <= now:
                heapq.heappop(self._due)
                self._is_told = True
        return self._is_regular

    def looked(self, *, found: int, more: bool, full: bool, execute: Execute) -> None:
        """Ends a look. `found`: how many jobs; `more`: others may be ready now; `full`: no room for them."""
        now = time.monotonic()
        self._found += found
        # Once is no sign: the next job may come before the last batch is closed.
        self._had_room = self._had_room or not full
        if not found and self._is_told and not self._is_regular:
            self._rest_until = now + min(_REST * (now - self._began), _LONGEST_REST)
        elapsed = now - self._window_began
        if elapsed >= _WINDOW:
            self._is_busy = not self._had_room or self._found >= _BUSY_RATE * elapsed
            self._window_began, self._found, self._had_room = now, 0, False
        if self._is_busy and self._declared:
            execute("select tidemill._declare_listener(%s, false)")
            self._declared = False
        if more:
            self._at = 0.0
        elif full:
            # The engine looks at once when there is room, so the next regular look can wait.
            self._at = now + (_WINDOW if self._declared else self._poll_interval)
        elif self._is_busy:
            # A busy worker gets no notifications, and usually finds jobs.
            self._at = now + _BUSY_PACE
        elif self._is_regular:
            if self._declares and not self._declared:
                execute("select tidemill._declare_listener(%s, true)")
                self._declared = True
                self._wait = _FIRST_LOOK
            else:
                self._wait = min(self._wait * 2, self._poll_interval)
            self._at = time.monotonic() + self._wait

    def nothing_for_a_while(self) -> None:
        """The look could not be made: waits for the poll interval."""
        self._at = time.monotonic() + self._poll_interval


def read_notification(payload: str) -> tuple[int, tuple[int, Place] | None]:
    """Reads a payload of `_notify_workers`: milliseconds until a job is due; its priority and place.

    Raises ValueError for what no producer writes.
    """
    milliseconds, *place = map(int, payload.split() or ["0"])
    if not 0 <= milliseconds <= _FARTHEST:
        raise ValueError(f"{milliseconds} ms are out of range")
    if not place:
        return milliseconds, None
    priority, microseconds, job_id = place
    if not (-(2**15) <= priority < 2**15 and 0 <= job_id < 2**63):
        raise ValueError("the priority or id is out of range")
    try:
        return milliseconds, (priority, (_EPOCH + timedelta(microseconds=microseconds), job_id))
    except OverflowError as error:
        raise ValueError("the time is out of range") from error
