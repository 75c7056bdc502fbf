"""Hands: the executor takes claimed jobs from them, and tells them how the jobs ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from tidemill.queue.claimed import ClaimedJob, chain
from tidemill.queue.settle import FreedQueue, Settle, Settlement


class Hand(Protocol):
    """A source of claimed jobs, which is told how they ended."""

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """A job succeeded; returns the next one to start, None if there is none."""

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """A job ended in another way. The caller must call `next` afterwards."""

    def next(self, job: ClaimedJob) -> ClaimedJob | None:
        """The next job of the same named queue, after one that ended; None if there is none."""


class LeasedHand:
    """Jobs leased to this worker. Belongs to the event loop."""

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._waiting: deque[ClaimedJob] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Takes claimed jobs; once closed, it gives them back at once."""
        self._waiting.extend(jobs)
        if self._closed:
            self.give_back()

    def close(self) -> None:
        """Starts no more jobs, and gives back those that have not started."""
        self._closed = True
        self.give_back()

    def give_back(self) -> None:
        """Gives back the jobs that have not started."""
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
            # The jobs behind it go back, too, to keep the order of the queue.
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
