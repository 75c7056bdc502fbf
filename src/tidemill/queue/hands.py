"""Hands: the executor takes claimed jobs from them, and tells them how the jobs ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from tidemill.queue.claimed import ClaimedJob, chain
from tidemill.queue.settlement import FreedQueue, Settle, Settlement
from tidemill.queue.starts import Ask


class Hand(Protocol):
    """A source of claimed jobs, which is told how they ended."""

    def take_in_thread(self) -> ClaimedJob | None:
        """The next job to start; None if there is none. Thread-safe."""

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """A job succeeded; returns the next one to start, None if there is none. Thread-safe."""

    def end(self, job: ClaimedJob, settlement: Settlement) -> None:
        """A job ended in another way. The caller must call `next` afterwards."""

    def next(self, job: ClaimedJob) -> ClaimedJob | None:
        """The next job of the same named queue, after one that ended; None if there is none."""


class LeasedHand:
    """Jobs leased to this worker. Belongs to the event loop, but for what `Hand` says is thread-safe.

    Those that were claimed ahead come in groups, each with a claim token of its own. The database is told of
    a group before its jobs start, when the group before it begins. So a worker that dies spends attempts of
    few jobs that it has not started.

    ask       `Starts.ask`
    size      jobs in a group, at most
    on_ready  is called when more jobs may start
    in_loop   has the event loop call a function soon. Thread-safe
    """

    def __init__(
        self,
        settle: Settle,
        ask: Ask,
        size: int,
        on_ready: Callable[[], None],
        in_loop: Callable[[Callable[[], None]], object],
    ) -> None:
        self._settle = settle
        self._ask_database = ask
        self._size = size
        self._on_ready = on_ready
        self._ready: deque[ClaimedJob] = deque()
        self._ahead: deque[list[ClaimedJob]] = deque()
        self._asking: list[ClaimedJob] | None = None
        self._closed = False
        self._in_loop = in_loop

    def __bool__(self) -> bool:
        """Whether a job may start."""
        return bool(self._ready)

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Takes claimed jobs; once closed, it gives them back at once."""
        for head in jobs:
            if not head.waits:
                self._ready.append(head)
            elif self._ahead and self._ahead[-1][0].token == head.token:
                self._ahead[-1].append(head)
            else:
                self._ahead.append([head])
        if self._closed:
            self.give_back()
        self._ask()

    def _ask(self) -> None:
        """Asks for the next group while the one before it runs, so that no slot waits for the answer."""
        if self._ahead and self._asking is None and len(self._ready) < self._size:
            self._asking = group = self._ahead[0]
            self._ask_database(group[0].token, partial(self._answered, group))

    def _answered(self, group: list[ClaimedJob], may_start: bool) -> None:
        self._asking = None
        if self._ahead and self._ahead[0] is group:
            if may_start:
                self._ready.extend(self._ahead.popleft())
                self._on_ready()
            else:
                # Freed by a sweep, perhaps, and the others with it; or nobody answers.
                self._give_back_ahead()
        self._ask()

    def close(self) -> None:
        """Starts no more jobs, and gives back those that have not started."""
        self._closed = True
        self.give_back()

    def give_back(self) -> None:
        """Gives back the jobs that have not started."""
        # One by one: a thread may take some of them.
        while (head := self._pop()) is not None:
            self._give_back(head)
        self._give_back_ahead()

    def _give_back_ahead(self) -> None:
        while self._ahead:
            for head in self._ahead.popleft():
                self._give_back(head)

    def _give_back(self, head: ClaimedJob) -> None:
        self._return(head)
        self._release(head)

    def take(self) -> ClaimedJob | None:
        """The next job to start; None if there is none, or none may start yet."""
        job = self._pop()
        if job is not None and self._ahead:
            self._ask()
        return job

    def take_in_thread(self) -> ClaimedJob | None:
        """See `Hand.take_in_thread`."""
        job = self._pop()
        if job is not None and self._ahead and self._asking is None:
            self._in_loop(self._ask)
        return job

    def _pop(self) -> ClaimedJob | None:
        try:
            return self._ready.popleft()
        except IndexError:
            return None

    def done(self, job: ClaimedJob) -> ClaimedJob | None:
        """See `Hand.done`."""
        self._settle(Settlement.of(job, "done"))
        return None if job.queue_id is None else self.next(job)

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
