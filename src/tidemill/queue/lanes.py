"""Lanes: which jobs the express and the lease lane get, and whether there is room for more."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tidemill.queue.batch import Batch
from tidemill.queue.claim import Look
from tidemill.queue.execute import Executor
from tidemill.queue.express import ExpressLane
from tidemill.queue.lease import LeaseLane
from tidemill.queue.marks import Place
from tidemill.tasks import Task
from tidemill.worker_options import LaneChoice

_MOST_NOTIFIED = 1000


class Lanes:
    """Both lanes of one worker; `choice` is `WorkerOptions.lane`.

    All methods belong to the engine's thread, except `notify`, `allow_express`, `hold_back` and
    `in_hand`, which are thread-safe.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[Any]],
        choice: LaneChoice,
        *,
        leases: LeaseLane,
        express: ExpressLane,
        executor: Executor,
    ) -> None:
        self._tasks = tasks
        self._choice = choice
        self._executor = executor
        self.leases = leases
        self.express = express
        for finder in (leases.finder, express.finder):
            finder.tallies = executor.tallies
        self._express_is_safe = True
        self._held: Collection[str] = ()
        self._quick: list[str] = []
        self._batches_claimed = 0
        self._notified: deque[tuple[int, Place] | None] = deque()
        # Whether the latest notifications all named places, so that a look may search only there.
        self._told = False

    @property
    def in_hand(self) -> int:
        """How many jobs are claimed and have not ended."""
        return self.leases.in_hand + self.express.in_hand

    @property
    def has_express(self) -> bool:
        """Whether jobs of quick tasks go by the express lane."""
        return self._choice != "lease" and self._express_is_safe and not self.express.is_paused

    @property
    def is_busy(self) -> bool:
        """Whether any job is in hand, or waits to be settled."""
        return self.leases.is_busy or self.express.is_busy

    @property
    def is_full(self) -> bool:
        """Whether no more jobs can be claimed, or none could start now."""
        can_claim = self._can_batch if self._quick else self.leases.room > 0
        return not can_claim or self._executor.free_slots <= 0

    @property
    def lost_express(self) -> bool:
        """Whether the express lane broke in this look, so that its jobs were not searched for."""
        return bool(self._quick) and self.express.is_paused

    @property
    def next_due(self) -> float | None:
        """When a lane must settle jobs, at the latest; None if no lane has to."""
        due = (self.leases.next_due, self.express.next_due)
        return min((at for at in due if at is not None), default=None)

    @property
    def next_search(self) -> float | None:
        """When a lane that has room may make a search that was asked for; None if none was."""
        able = []
        if self.leases.room > 0:
            able.append(self.leases.finder)
        if self._quick and self._can_batch:
            able.append(self.express.finder)
        searches = (finder.next_search for finder in able)
        return min((at for at in searches if at is not None), default=None)

    def allow_express(self, safe: bool) -> None:
        """Sets whether the express lane is safe to use: no worker was lost lately."""
        self._express_is_safe = safe

    def hold_back(self, tasks: Collection[str]) -> None:
        """Claims no jobs of these tasks until it is called again."""
        self._held = frozenset(tasks)
        identifiers = [identifier for identifier in self._tasks if identifier not in tasks]
        self.express.finder.identifiers = identifiers
        self.leases.claim_only(identifiers)
        # What was passed over may be anywhere.
        self.notify(None)

    def notify(self, place: tuple[int, Place] | None) -> None:
        """A job was added; `place` is its priority and place, if they are known."""
        if len(self._notified) >= _MOST_NOTIFIED:
            # A flood, while the engine waits for the database.
            self._notified.clear()
            place = None
        self._notified.append(place)

    def read_notifications(self) -> None:
        """Has the next searches cover the jobs that notifications announced."""
        finders = (self.leases.finder, self.express.finder)
        if self._notified:
            self._told = True
        while self._notified:
            place = self._notified.popleft()
            # Anybody may notify. A priority that never had a job gets no mark, and a hint that cost much
            # is followed by none for a while: then the jobs are found by a full search, which is rationed.
            if (
                place is not None
                and any(finder.marks.knows(place[0]) for finder in finders)
                and all(finder.marks.hints.allows for finder in finders)
            ):
                for finder in finders:
                    finder.marks.lower(*place)
            else:
                self._told = False
                for finder in finders:
                    finder.ask()

    def ask_queues(self) -> None:
        """Has the named queues searched again, since nothing announces a queue's further jobs."""
        for finder in (self.leases.finder, self.express.finder):
            finder.ask_queues()

    def plan(self, forbidden: Sequence[str], *, regular: bool, thorough: bool) -> Look:
        """Decides what a look searches for; if not `regular`, it only serves notifications."""
        self._choose_quick()
        # A look started by notifications must not count as the regular one,
        # or unannounced jobs would wait forever.
        told, self._told = self._told and not regular, False
        return Look(self._quick, forbidden, thorough, told)

    def claim_batch(self, look: Look) -> tuple[Batch | None, bool]:
        """Claims a batch for the express lane; returns it, and whether to look again at once."""
        if not self._quick or not self._can_batch:
            return None, False
        batch, more = self.express.claim(look)
        if batch is None:
            return None, False
        self._batches_claimed += 1
        return batch, more and self.express.has_room

    def _choose_quick(self) -> None:
        """Decides which tasks' jobs go by the express lane."""
        quick: list[str] = []
        if self.has_express:
            durations, unknown = self._executor.durations, self._choice == "express"
            quick = [
                identifier
                for identifier, task in self._tasks.items()
                # A plain function can outlive its time limit; a lease keeps its named queue until it ends.
                if (task.is_async or task.timeout is None)
                and identifier not in self._held
                and durations.is_quick(identifier, unknown=unknown)
            ]
        if quick != self._quick:
            # Some jobs change lanes, and may lie behind the marks of their new lane.
            if self._quick:
                self.express.finder.marks.meet(self.leases.finder.marks)
            else:
                self.express.finder.marks.adopt(self.leases.finder.marks)
            self.ask_queues()
            self._quick = quick

    @property
    def _can_batch(self) -> bool:
        """Whether a batch would run soon: a slot is free or will be, and no job blocks the event loop."""
        express, executor = self.express, self._executor
        slots = executor.free_slots > 0 or (express.is_busy and express.is_moving)
        return express.has_room and slots and executor.batches_taken >= self._batches_claimed - 1
