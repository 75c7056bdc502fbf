"""Batches: the jobs of an open express transaction, shared by the engine's thread and the event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tidemill.queue.claimed import ClaimedJob, chain, chain_length
from tidemill.queue.settlement import FreedQueue, Settle, Settlement


@dataclass(frozen=True)
class Closed:
    """The state of a batch's jobs when it was closed."""

    done: list[int]
    kept: list[ClaimedJob]
    """Done, and their history is kept."""
    started: list[ClaimedJob]
    """Running jobs, and failed ones: these must be leased."""
    queues: list[int]
    """Named queues with a running job."""
    failed: list[Settlement]
    unstarted: list[ClaimedJob]
    """Jobs never started, and the first job of each named queue with none started."""


class Batch:
    """Jobs that are held by the row locks of one open transaction. Thread-safe.

    When it is closed, the jobs that have started are leased, and end as leased jobs do.
    """

    def __init__(
        self, token: int, jobs: list[ClaimedJob], settle: Settle, on_over: Callable[[], None]
    ) -> None:
        self.token = token
        self.size = len(jobs)
        self.has_queues = False
        for head in jobs:
            head.token = token
            if head.queue_id is not None:
                self.has_queues = True
                for job in chain(head.next):
                    job.token = token
                    self.size += 1
        self._settle = settle
        self._on_over = on_over
        self._lock = threading.Lock()
        self._waiting = deque(jobs)
        self._left = self.size
        self._done: list[int] = []
        self._kept: list[ClaimedJob] = []
        self._running: dict[int, ClaimedJob] = {}
        self._failed: list[tuple[ClaimedJob, Settlement]] = []
        self._stopped = False
        self._closed = False

    @property
    def has_waiting(self) -> bool:
        """Whether a job waits to start."""
        return bool(self._waiting) and not self._stopped

    @property
    def is_open(self) -> bool:
        """Whether it is not closed, and some of its jobs have not ended."""
        return not self._closed and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether all its jobs have ended."""
        return self._left == 0

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return self.size - self._left

    def take(self) -> ClaimedJob | None:
        """The next job to start; None if there is none."""
        with self._lock:
            return self._start(None)

    # All of it is thread-safe.
    take_in_thread = take

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """See `Hand.done`."""
        # This is done for each job: so it makes no calls that can be spared.
        with self._lock:
            if not self._closed:
                running = self._running
                del running[job.id]
                if job.record is None:
                    self._done.append(job.id)
                else:
                    self._kept.append(job)
                self._left -= 1
                if self._left == 0:
                    self._on_over()
                following = job.next
                if self._stopped:
                    return None
                if following is None:
                    if not self._waiting:
                        return None
                    following = self._waiting.popleft()
                running[following.id] = following
                return following
        self._settle(Settlement.of(job, "done"))
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
                    # Given back: its unlocked row is unchanged, and so are those of the jobs behind it.
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
        self._settle(FreedQueue(job.queue_id, job.token))
        return None

    def _start(self, job: ClaimedJob | None) -> ClaimedJob | None:
        if self._stopped:
            return None
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

    def stop(self) -> None:
        """Starts nothing more. Jobs that have not started are free again once the batch is closed."""
        with self._lock:
            self._stopped = True

    def close(self) -> Closed:
        """Starts no more jobs; from now on jobs end as leased ones."""
        with self._lock:
            self._closed = True
            unstarted = list(self._waiting)
            self._waiting.clear()
            running = list(self._running.values())
            return Closed(
                self._done,
                self._kept,
                [*running, *(job for job, _ in self._failed)],
                [job.queue_id for job in running if job.queue_id is not None],
                [settlement for _, settlement in self._failed],
                unstarted,
            )
