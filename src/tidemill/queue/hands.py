"""Hands: where the executor takes claimed jobs from, and says how they ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from tidemill.queue.claimed import ClaimedJob, chain
from tidemill.queue.settle import FreedQueue, Settle, Settlement


class Hand(Protocol):
    """Where claimed jobs come from, and where the executor says how they ended."""

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """A job ended well; returns the next one to start, None if there is none."""

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """A job ended otherwise. `next` must follow."""

    def next(self, job: ClaimedJob) -> ClaimedJob | None:
        """The job of the same named queue to start after one that ended; None if there is none."""


class LeasedHand:
    """Jobs leased to this worker. Belongs to the event loop."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._waiting: deque[ClaimedJob] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Takes claimed jobs."""
        self._waiting.extend(jobs)
        if self._closed:
            self.give_back()

    def close(self) -> None:
        """Starts nothing more, and gives back what has not started."""
        self._closed = True
        self.give_back()

    def give_back(self) -> None:
        """Gives back what has not started."""
        while self._waiting:
            head = self._waiting.popleft()
            self._return(head)
            self._release(head)

    def take(self) -> ClaimedJob | None:
        """The next job to start; None if there is none."""
        return self._waiting.popleft() if self._waiting else None

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """See `Hand.done`."""
        self._settle(Settlement.of(job, "done"))
        return self.next(job)

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """See `Hand.end`."""
        self._settle(settlement)
        if settlement.kind == "returned":
            # The jobs behind it go back, too, so that the queue's order is kept.
            self._return(job.next)
            job.next = None

    def next(self, job: ClaimedJob) -> ClaimedJob | None:
        """See `Hand.next`."""
        if job.next is not None and not self._closed:
            return job.next
        self._return(job.next)
        self._release(job)
        return None

    def _return(self, head: ClaimedJob | None) -> None:
        for job in chain(head):
            self._settle(Settlement.of(job, "returned"))

    def _release(self, job: ClaimedJob) -> None:
        if job.queue_id is not None:
            self._settle(FreedQueue(job.queue_id, job.token))
