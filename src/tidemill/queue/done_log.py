"""Log lines of jobs that ended well: one for each, or, for a task that does many, one a second."""

from __future__ import annotations

import asyncio
import logging
import time

from tidemill.context import JobLogger
from tidemill.queue.claimed import ClaimedJob

logger = logging.getLogger("tidemill")

_WINDOW_SECONDS = 1.0
# So many jobs of one task have lines of their own in a window.
_MOST_LINES = 10
SLOW_SECONDS = 1.0


class Count:
    """The quick jobs of one task in the present window."""

    __slots__ = ("held_back", "identifier", "is_busy", "jobs", "only_counts", "seconds")

    def __init__(self, identifier: str, *, is_busy: bool = False) -> None:
        self.identifier = identifier
        self.is_busy = is_busy
        """The last window had many, so nothing is logged before the end of this one."""
        self.jobs = 0
        self.seconds = 0.0
        """How long those took that had no line."""
        self.held_back: list[tuple[ClaimedJob, float]] = []
        self.only_counts = False
        """Until the window ends, quick jobs may be added to `jobs` and `seconds` by hand: that costs less."""


NO_COUNT = Count("")
"""Of no task: nothing is added to it by hand."""


class DoneLog:
    """Belongs to the event loop.

    While a task does ten jobs a second at most, each has a line. When it does more, the first ten have, and
    from then on one line a second tells of all. Jobs that take a second or longer always have a line.

    each  every job has a line, as with the level debug
    """

    def __init__(self, *, each: bool) -> None:
        self._each = each
        self._lists_all = each
        self._loop = asyncio.get_running_loop()
        self._counts: dict[str, Count] = {}
        self._began = 0.0
        self._end: asyncio.TimerHandle | None = None

    def is_on(self) -> bool:
        """Whether anybody reads these lines; asked now and then, since to ask costs more than to add."""
        self._lists_all = self._each or logger.isEnabledFor(logging.DEBUG)
        return logger.isEnabledFor(logging.INFO)

    def add(self, job: ClaimedJob, seconds: float) -> Count:
        """Takes note of a job that ended well after so many seconds; returns where it was counted."""
        if seconds >= SLOW_SECONDS or self._lists_all:
            _tell(job, seconds)
            return NO_COUNT
        count = self._counts.get(job.identifier) or self._begin(job.identifier)
        count.jobs += 1
        if count.jobs > _MOST_LINES or count.is_busy:
            count.seconds += seconds
            if count.jobs <= _MOST_LINES:
                count.held_back.append((job, seconds))
            count.only_counts = count.jobs >= _MOST_LINES
        else:
            _tell(job, seconds)
        return count

    def close(self) -> None:
        """Tells of what was counted so far."""
        if self._end is not None:
            self._end.cancel()
            self._end_window()
        if self._end is not None:
            self._end.cancel()

    def _begin(self, identifier: str) -> Count:
        if self._end is None:
            self._begin_window()
        self._counts[identifier] = count = Count(identifier)
        return count

    def _begin_window(self) -> None:
        self._began = time.monotonic()
        self._end = self._loop.call_later(_WINDOW_SECONDS, self._end_window)

    def _end_window(self) -> None:
        took = time.monotonic() - self._began
        self._end = None
        counts, self._counts = self._counts, {}
        for identifier, count in counts.items():
            count.only_counts = False
            is_busy = count.jobs > _MOST_LINES
            if not is_busy:
                for job, seconds in count.held_back:
                    _tell(job, seconds)
            elif count.is_busy:
                _sum_up(identifier, "", count.jobs, count.seconds, took)
            else:
                _sum_up(identifier, " more", count.jobs - _MOST_LINES, count.seconds, took)
            if is_busy:
                self._counts[identifier] = Count(identifier, is_busy=True)
        if self._counts:
            self._begin_window()


def _tell(job: ClaimedJob, seconds: float) -> None:
    JobLogger(logger, {"job_id": job.id, "task": job.identifier, "attempt": job.attempt}).info(
        "job %s (%s) done in %.0f ms",
        job.id,
        job.identifier,
        seconds * 1000,
        extra={"duration_ms": round(seconds * 1000, 3)},
    )


def _sum_up(identifier: str, more: str, jobs: int, seconds: float, took: float) -> None:
    mean = seconds / jobs * 1000
    logger.info(
        "%s: %s%s done in %.1f s, mean %s ms",
        identifier,
        f"{jobs:,}",
        more,
        took,
        f"{mean:.0f}" if mean >= 10 else f"{mean:.2g}",
        extra={"task": identifier, "jobs": jobs, "seconds": round(took, 3), "mean_ms": round(mean, 3)},
    )
