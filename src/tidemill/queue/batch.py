"""Hands: what is claimed, on its way from the engine's thread to the event loop and back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from tidemill.queue.claimed import ClaimedJob, chain, chain_length
from tidemill.queue.complete import Settlement

Settle = Callable[[Settlement], None]


class Hand(Protocol):
    """Where claimed jobs come from, and where the executor says how they ended."""

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """A job ended well; returns the next one to start, None if there is none."""

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """A job ended otherwise. `next` must follow."""

    def next(self, job: ClaimedJob) -> ClaimedJob | None:
        """The job of the same named queue to start after one that ended; None if there is none."""


class Leases:
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
        self._settle(_done(job))
        return self.next(job)

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """See `Hand.end`."""
        self._settle(settlement)
        if settlement.kind == "returned":
            # Whoever gets it next must find the queue's order kept.
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
            self._settle(Settlement("returned", job.id, job.token, job.identifier))

    def _release(self, job: ClaimedJob) -> None:
        if job.queue_id is not None:
            self._settle(Settlement("queue", job.queue_id, job.token))


def _done(job: ClaimedJob) -> Settlement:
    return Settlement("done", job.id, job.token, job.identifier)


@dataclass(frozen=True)
class Closed:
    """What became of a batch until it was closed."""

    done: list[int]
    started: list[ClaimedJob]
    """Goes on, or has failed: to be leased."""
    queues: list[int]
    """Named queues whose job goes on."""
    failed: list[Settlement]
    unstarted: list[ClaimedJob]
    """Was not started, and named queues of which nothing was."""


class Batch:
    """Jobs that are held by the row locks of one open transaction. Thread-safe.

    Once it is closed, what has started by then is leased, and ends as leased jobs do.
    """

    def __init__(
        self, token: int, jobs: list[ClaimedJob], settle: Settle, on_over: Callable[[], None]
    ) -> None:
        self.token = token
        self.size = 0
        self.has_queues = any(job.queue_id is not None for job in jobs)
        for head in jobs:
            for job in chain(head):
                job.token = token
                self.size += 1
        self._settle = settle
        self._on_over = on_over
        self._lock = threading.Lock()
        self._waiting = deque(jobs)
        self._left = self.size
        self._done: list[int] = []
        self._running: dict[int, ClaimedJob] = {}
        self._failed: list[tuple[ClaimedJob, Settlement]] = []
        self._closed = False

    @property
    def has_waiting(self) -> bool:
        """Whether there is a job to start."""
        return bool(self._waiting)

    @property
    def is_over(self) -> bool:
        """Whether all of its jobs have ended."""
        return self._left == 0

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return self.size - self._left

    def take(self) -> ClaimedJob | None:
        """The next job to start; None if there is none."""
        with self._lock:
            return self._start(None)

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """See `Hand.done`."""
        with self._lock:
            if not self._closed:
                del self._running[job.id]
                self._done.append(job.id)
                self._count_ended(1)
                return self._start(job.next)
        self._settle(_done(job))
        return self.next(job)

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """See `Hand.end`."""
        with self._lock:
            if not self._closed:
                del self._running[job.id]
                if settlement.kind == "failed":
                    self._failed.append((job, settlement))
                    self._count_ended(1)
                else:
                    # Given back: unlocked, it is as it was, and so are those behind it.
                    self._count_ended(chain_length(job))
                    job.next = None
                return
        self._settle(settlement)

    def next(self, job: ClaimedJob) -> ClaimedJob | None:
        """See `Hand.next`."""
        if job.queue_id is None:
            return None
        with self._lock:
            if not self._closed:
                return self._start(job.next) if job.next is not None else None
        self._settle(Settlement("queue", job.queue_id, job.token))
        return None

    def _start(self, job: ClaimedJob | None) -> ClaimedJob | None:
        if job is None:
            if not self._waiting:
                return None
            job = self._waiting.popleft()
        self._running[job.id] = job
        return job

    def _count_ended(self, count: int) -> None:
        self._left -= count
        if self._left == 0:
            self._on_over()

    def close(self) -> Closed:
        """Starts nothing more; from now on jobs end as leased ones."""
        with self._lock:
            self._closed = True
            unstarted = list(self._waiting)
            self._waiting.clear()
            running = list(self._running.values())
            return Closed(
                self._done,
                [*running, *(job for job, _ in self._failed)],
                [job.queue_id for job in running if job.queue_id is not None],
                [settlement for _, settlement in self._failed],
                unstarted,
            )
