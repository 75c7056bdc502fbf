"""Slots: who holds the connections of a pool, and who waits for one."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

from tidemill.errors import PoolExhaustedError

logger = logging.getLogger("tidemill")

_OURS = str(Path(__file__).parent)


class Slot:
    """A place in a pool: taken once `granted` has a result."""

    def __init__(self, place: str, above: frozenset[Slot]) -> None:
        self.place = place
        self.above = above
        """The slots that the code around holds: none of them is free before this one was granted."""
        self.since = time.monotonic()
        self.granted: Future[None] = Future()
        # A waiter that is cancelled must not cancel the future: it may be granted at the same time.
        self.granted.set_running_or_notify_cancel()


class Slots:
    """As many slots as a pool may have connections; first come, first served. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._holders: set[Slot] = set()
        self._waiting: deque[Slot] = deque()

    @contextmanager
    def ask(self) -> Iterator[Slot]:
        """Asks for a slot; wait for its `granted` before you use it. It is free again at the end.

        Raises PoolExhaustedError if nobody could ever be granted one: all are held by code that waits.
        """
        above = _held.get()
        slot = Slot(_caller(), above)
        with self._lock:
            self._waiting.append(slot)
            self._grant()
            if not slot.granted.done() and self._is_stuck():
                self._waiting.remove(slot)
                raise PoolExhaustedError(
                    f"All {self._size} connections of the pool are held by code that waits for one more: "
                    f"{self._in_use()}. Use the connection that is there, as in "
                    "add_job(..., connection=connection), or raise App(pool_size=...) or --max-connections."
                )
        _held.set(above | {slot})
        try:
            yield slot
        finally:
            _held.set(above)
            with self._lock:
                if slot in self._holders:
                    self._holders.remove(slot)
                else:
                    self._waiting.remove(slot)
                self._grant()

    def resize(self, size: int) -> None:
        """Sets how many slots there are. Slots that are held stay."""
        with self._lock:
            self._size = size
            self._grant()

    def warn(self, slot: Slot) -> None:
        """Logs who holds the slots that this one has to wait for."""
        logger.warning(
            "%s has waited %.0f s for a connection; all %s of the pool are in use: %s",
            slot.place,
            time.monotonic() - slot.since,
            self._size,
            self.in_use(),
        )

    def in_use(self) -> str:
        """Which code holds the slots: for messages."""
        with self._lock:
            return self._in_use()

    def _grant(self) -> None:
        while self._waiting and len(self._holders) < self._size:
            slot = self._waiting.popleft()
            self._holders.add(slot)
            slot.granted.set_result(None)

    def _is_stuck(self) -> bool:
        blocked = frozenset[Slot]().union(*(slot.above for slot in self._waiting))
        return blocked >= self._holders

    def _in_use(self) -> str:
        places = Counter(slot.place for slot in self._holders)
        oldest = min((slot.since for slot in self._holders), default=time.monotonic())
        named = ", ".join(f"{count} by {place}" for place, count in places.most_common(5))
        others = "" if len(places) <= 5 else f" and {len(places) - 5} other places"
        return f"{named}{others}, for up to {time.monotonic() - oldest:.0f} s"


_held: ContextVar[frozenset[Slot]] = ContextVar("tidemill_held_slots", default=frozenset())


def _caller() -> str:
    """The line of the user's code that asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not (path.startswith(_OURS) or path.endswith("contextlib.py")):
            return f"{Path(path).name}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return "Tidemill itself"
