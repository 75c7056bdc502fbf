"""A worker's own view of its lease: it goes by a clock of this machine, and asks nobody."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("tidemill")

# Linux's monotonic clock stands still while the machine is suspended, but its leases end.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
_telling = threading.Lock()


def now() -> float:
    """The time of the clock that leases go by, in seconds."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Term:
    """A time through which the lease is kept. What is claimed in a term starts in it, or never.

    Once it is over it stays so: the next heartbeat begins another term.
    """

    __slots__ = ("_told", "deadline")

    def __init__(self, deadline: float = 0.0) -> None:
        self.deadline = deadline
        # One that never began needs no word about its end.
        self._told = not deadline

    @property
    def is_over(self) -> bool:
        """Whether other workers may have the jobs by now."""
        return now() >= self.deadline

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return self.deadline - now()

    def end(self) -> None:
        """Ends it now, without a word."""
        self._told = True
        self.deadline = 0.0

    def tell(self) -> None:
        """Says that it is over, once. Thread-safe."""
        with _telling:
            told, self._told = self._told, True
        if not told:
            logger.warning(
                "no heartbeat of this worker arrived for the time of its lease, so others may run its jobs: "
                "until one arrives it starts none, gives back what has not started, and stops what runs"
            )


class OwnLease:
    """The lease of this worker. Its heartbeats renew it; all threads read `term`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.term = Term()

    def renew(self, sent_at: float, *, kept: bool) -> bool:
        """A heartbeat that was sent at this time has arrived; True if a new term begins.

        Not `kept`: the database had taken this worker for lost, and freed its jobs.
        """
        # The database counts from when the heartbeat arrived, so its deadline is not before ours.
        deadline = sent_at + self._seconds
        term = self.term
        if term.is_over:
            term.tell()
            if kept and deadline <= now():
                # The answer was on its way while this process stood still: the next one tells.
                return False
        elif kept:
            term.deadline = deadline
            return False
        term.end()
        self.term = Term(deadline)
        return True
