"""Lanes: which of the two gets which jobs, and whether there is room for more."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from tidemill.queue.batch import Batch
from tidemill.queue.claim import Look
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.execute import Executor
from tidemill.queue.express import ExpressLane
from tidemill.queue.lease import LeaseLane
from tidemill.queue.marks import Place
from tidemill.tasks import Task
from tidemill.worker_options import LaneChoice


class Lanes:
    """Both lanes of one worker; `choice` is that of `WorkerOptions.lane`.

    All methods belong to the engine's thread, but for `notify`, `allow_express` and
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
        self._express_is_safe = True
        self._quick: list[str] = []
        self._batches_claimed = 0
        self._notified: deque[tuple[int, Place] | None] = deque()
        # Whether all notifications since the last look named places.
        self._told = False

    @property
    def in_hand(self) -> int:
        """How many jobs are claimed and have not ended."""
        return self.leases.in_hand + self.express.in_hand

    @property
    def is_busy(self) -> bool:
        """Whether any job is in hand, or waits to be settled."""
        return self.leases.is_busy or self.express.is_busy

    @property
    def is_full(self) -> bool:
        """Whether no more jobs can be claimed, or none of them could start."""
        can_claim = self._can_batch if self._quick else self.leases.room > 0
        return not can_claim or self._executor.free_slots <= 0

    @property
    def lost_express(self) -> bool:
        """Whether the express lane broke in this look: its jobs have not been looked for."""
        return bool(self._quick) and self.express.is_paused

    @property
    def next_due(self) -> float | None:
        """When a lane has something to settle, at the latest."""
        due = (self.leases.next_due, self.express.next_due)
        return min((at for at in due if at is not None), default=None)

    @property
    def next_search(self) -> float | None:
        """When a search that was asked for may be made, by a lane that has room for what it finds."""
        able = []
        if self.leases.room > 0:
            able.append(self.leases.finder)
        if self._quick and self._can_batch:
            able.append(self.express.finder)
        searches = (finder.next_search for finder in able)
        return min((at for at in searches if at is not None), default=None)

    def allow_express(self, safe: bool) -> None:
        """Says whether the express lane is safe: no worker was lost lately."""
        self._express_is_safe = safe

    def notify(self, place: tuple[int, Place] | None) -> None:
        """Says that a job was added; its priority and place, if they are known."""
        self._notified.append(place)

    def read_notifications(self) -> None:
        """Has the next searches find the jobs that notifications told of."""
        if self._notified:
            self._told = True
        while self._notified:
            place = self._notified.popleft()
            self._told = self._told and place is not None
            for finder in (self.leases.finder, self.express.finder):
                if place is None:
                    finder.ask()
                else:
                    finder.marks.lower(*place)

    def ask_queues(self) -> None:
        """Has the named queues searched again: nothing announces a queue's further jobs."""
        for finder in (self.leases.finder, self.express.finder):
            finder.ask_queues()

    def plan(self, forbidden: Sequence[str], *, regular: bool, thorough: bool) -> Look:
        """Decides what a look asks for; without `regular` it serves notifications alone."""
        self._choose_quick()
        # A look started by notifications must not count as the regular one,
        # or unannounced jobs would wait forever.
        told, self._told = self._told and not regular, False
        return Look(self._quick, forbidden, thorough, told)

    def claim_batch(self, look: Look) -> tuple[Batch | None, bool]:
        """Claims for the express lane, and says whether to look again at once."""
        if not self._quick or not self._can_batch:
            return None, False
        batch, more = self.express.claim(look)
        if batch is None:
            return None, False
        self._batches_claimed += 1
        return batch, more and self.express.has_room

    def claim_leases(
        self, connection: psycopg.Connection, look: Look, batch: Batch | None
    ) -> tuple[list[ClaimedJob], bool]:
        """Claims for the lease lane, after the express lane got `batch`; says whether to look again."""
        if look.told and batch is not None:
            # Here is the job that we were told of; others can wait a moment.
            self.leases.finder.ask()
            return [], False
        return self.leases.claim(connection, look)

    def _choose_quick(self) -> None:
        """Decides which tasks' jobs are for the express lane."""
        quick: list[str] = []
        if self._choice != "lease" and self._express_is_safe and not self.express.is_paused:
            durations, unknown = self._executor.durations, self._choice == "express"
            quick = [
                identifier
                for identifier, task in self._tasks.items()
                # A plain function outlives its time limit, and keeps its named queue as long as it runs.
                if (task.is_async or task.timeout is None) and durations.is_quick(identifier, unknown=unknown)
            ]
        if quick != self._quick:
            # Jobs that one lane passed over are for the other one now.
            if self._quick:
                self.express.finder.marks.meet(self.leases.finder.marks)
            else:
                self.express.finder.marks.adopt(self.leases.finder.marks)
            self.ask_queues()
            self._quick = quick

    @property
    def _can_batch(self) -> bool:
        """Whether a batch would be run: there is a slot, or one will be free, and no job blocks the loop."""
        express, executor = self.express, self._executor
        slots = executor.free_slots > 0 or (express.is_busy and express.is_moving)
        return express.has_room and slots and executor.batches_taken >= self._batches_claimed - 1
