"""The engine: one thread that claims jobs and settles them, whatever the event loop does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from tidemill.queue.claim import LONGEST_QUEUE_RUN, Search
from tidemill.queue.claimed import ClaimedJob, chain
from tidemill.queue.complete import Settlement
from tidemill.queue.durations import QUICK_SECONDS
from tidemill.queue.execute import Executor
from tidemill.queue.express import ExpressLane
from tidemill.queue.lease import LeaseLane
from tidemill.queue.looks import Looks
from tidemill.queue.marks import Place
from tidemill.tasks import Task
from tidemill.worker_options import LaneChoice

logger = logging.getLogger("tidemill")

_LARGEST_CLAIM = 500
# Quick jobs are claimed ahead, as many as run in about this time; slow ones only into free slots.
_AHEAD_SECONDS = 0.05
_BUSY_ROW_RETRY = 0.02
_LONGEST_BACKOFF = 5.0
_ONCE_TRIES = 8


class Engine:
    """Claims into the executor and settles what comes out of it.

    `connect` opens its connections, `lane` is that of `WorkerOptions`. With `once` it
    ends when nothing is ready. Every `reconcile_interval` seconds it frees what the
    table says is ours and is not. Thread-safe: `settle`, `notify`, `revive`,
    `allow_express`, `drain`, `give_up`.
    """

    def __init__(
        self,
        *,
        worker_id: str,
        connect: Callable[[], psycopg.Connection],
        tasks: Mapping[str, Task[Any]],
        lane: LaneChoice,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
        concurrency: int,
        poll_interval: float,
        reconcile_interval: float,
        forbidden_flags: Callable[[], Sequence[str]],
        listen: bool,
        once: bool,
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._worker_id = worker_id
        self._connect = connect
        self._tasks = tasks
        self._lane = lane
        self._executor = executor
        self._loop = loop
        self._concurrency = concurrency
        self._reconcile_interval = reconcile_interval
        self._forbidden_flags = forbidden_flags
        self._once = once
        self._on_end = on_end
        self._looks = Looks(poll_interval=poll_interval, declares=listen and not once)

        self._signal = threading.Event()
        self._inbox: deque[Settlement] = deque()
        self._notified: deque[tuple[int, Place] | None] = deque()
        self._revived = False
        self._draining = False
        self._gave_up = False
        self._thread = threading.Thread(target=self._run, name="tidemill-engine", daemon=True)

        self._leases = LeaseLane(worker_id, list(tasks))
        self._express = ExpressLane(
            worker_id,
            list(tasks),
            connect=connect,
            settle=self.settle,
            on_leased=self._take_in_hand,
            wake=self._signal.set,
        )
        self._finders = (self._leases.finder, self._express.finder)
        self._batches_sent = 0
        # Whether all notifications since the last look named places.
        self._told = False
        self._express_is_safe = True
        self._quick: list[str] = []
        self._connection: psycopg.Connection | None = None
        self._failures = 0
        # Sent over a connection that broke: they may have been written or not.
        self._uncertain: set[tuple[int, int]] = set()
        self._in_hand: set[tuple[int, int]] = set()
        # Leased named queues: for longer than their jobs, where a plain function outlives its time limit.
        self._held_queues: set[tuple[int, int]] = set()
        self._reconcile_at = 0.0
        # Whether the last look had no room, found nothing, and nothing was left at all.
        self._full = self._dry = self._empty = False
        self._flags_failed = False

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def in_hand(self) -> list[int]:
        """Leased jobs that are not settled yet."""
        return [job_id for job_id, _ in list(self._in_hand)]

    @property
    def jobs_in_hand(self) -> int:
        """How many jobs are claimed and have not ended, in both lanes."""
        return len(self._in_hand) + self._express.in_hand

    def settle(self, settlement: Settlement) -> None:
        """Takes how a job ended."""
        self._inbox.append(settlement)
        self._signal.set()

    def notify(self, milliseconds: int = 0, place: tuple[int, Place] | None = None) -> None:
        """Says that a job is due in so many milliseconds, and its priority and place if they are known."""
        self._notified.append(place)
        self._looks.notify(milliseconds)
        self._signal.set()

    def allow_express(self, allowed: bool) -> None:
        """Says whether the express lane is safe: no worker was lost lately."""
        self._express_is_safe = allowed

    def revive(self) -> None:
        """Says that others took this worker for dead, and swept what it left."""
        self._revived = True
        self._signal.set()

    def drain(self) -> None:
        """Claims no more; ends when everything in hand is settled."""
        self._draining = True
        self._signal.set()

    def give_up(self) -> None:
        """Ends at the next lost connection or finished turn, settled or not."""
        self._gave_up = True
        self._signal.set()

    # The thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while not self._is_done():
                try:
                    self._turn()
                    self._failures = 0
                except psycopg.Error as problem:
                    self._lost(problem)
        except BaseException as raised:
            error = raised
        try:
            self._express.disconnect()
            if self._connection is not None:
                self._connection.close()
        except BaseException as raised:
            # Whatever it is: the worker waits to be told that we have ended.
            error = error or raised
        # A worker that gave up on us does not wait, and may have closed its loop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._on_end, error)

    def _is_done(self) -> bool:
        if self._gave_up:
            return True
        nothing_left = not self._in_hand and not self._inbox and not self._express.is_busy
        drained = self._draining and not self._held_queues
        return nothing_left and (drained or (self._once and self._empty))

    def _turn(self) -> None:
        connection = self._connection or self._open()
        self._signal.clear()
        if self._revived:
            self._revived = False
            self._looks.forget_declaration()
        now = time.monotonic()
        if self._express.close_due(now, may_wait=not self._draining):
            if self._express.freed_queues:
                self._look_at_queues()
            if self._full or self._once or self._express.freed_jobs:
                self._looks.at_once()
        busy_rows = self._flush(connection)
        if now >= self._reconcile_at:
            self._reconcile(connection)
        self._read_notifications()
        if not self._draining and now >= self._next_look():
            # What nobody tells us of must not wait for ever for a look of its own.
            self._told = not self._looks.begin(now) and self._told
            self._look(connection)
        if self._is_done() or self._signal.is_set():
            return
        waits = [self._reconcile_at, self._express.next_due]
        if not self._draining:
            waits.append(self._next_look())
        if busy_rows:
            waits.append(now + _BUSY_ROW_RETRY)
        self._signal.wait(max(0.0, min(at for at in waits if at is not None) - time.monotonic()))

    def _read_notifications(self) -> None:
        if self._notified:
            self._told = True
        while self._notified:
            place = self._notified.popleft()
            self._told = self._told and place is not None
            for finder in self._finders:
                if place is None:
                    finder.ask()
                else:
                    finder.marks.lower(*place)

    def _next_look(self) -> float:
        if self._flags_failed:
            return self._looks.next
        # A search that cannot be made now must not wake us.
        able = []
        if self._room() > 0:
            able.append(self._leases.finder)
        if self._quick and self._can_batch():
            able.append(self._express.finder)
        searches = (finder.next_search for finder in able)
        return min([self._looks.next, *(at for at in searches if at is not None)])

    def _flush(self, connection: psycopg.Connection) -> bool:
        """Writes what has ended, before anything else is claimed; True if rows were held."""
        batch = []
        while self._inbox:
            settlement = self._inbox.popleft()
            # What was lost with the connection of an express batch is no longer ours.
            if settlement.kind == "queue" or (settlement.id, settlement.token) in self._in_hand:
                batch.append(settlement)
        if not batch:
            return False
        try:
            result = self._leases.settle(connection, batch)
        except psycopg.Error:
            self._inbox.extendleft(reversed(batch))
            self._uncertain.update((settlement.id, settlement.token) for settlement in batch)
            raise
        busy = set(map(id, result.busy))
        self._inbox.extend(result.busy)
        full = self._room() == 0
        for settlement in batch:
            if id(settlement) in busy:
                continue
            if settlement.kind == "queue":
                self._held_queues.discard((settlement.id, settlement.token))
                # The next job of that queue can be claimed now.
                self._look_at_queues()
            else:
                self._in_hand.discard((settlement.id, settlement.token))
        # What ran may have added jobs, and nobody notifies a worker that is about to end.
        if self._full or (full and self._room() > 0) or (self._once and not self._in_hand):
            self._looks.at_once()
        result.log(self._uncertain)
        if self._uncertain:
            self._uncertain.intersection_update(
                (settlement.id, settlement.token) for settlement in self._inbox
            )
        return bool(busy)

    def _look_at_queues(self) -> None:
        """What a queue has more, nobody tells us of."""
        for finder in self._finders:
            finder.ask_queues()

    def _room(self) -> int:
        """How many jobs may be leased now, counted by the time that they will take."""
        mean = self._executor.durations.mean
        ahead = 0
        if mean is not None and mean < QUICK_SECONDS:
            ahead = int(self._concurrency * _AHEAD_SECONDS / max(mean, 1e-6))
        wanted = min(self._concurrency + ahead, max(_LARGEST_CLAIM, self._concurrency))
        # Refill at half, or each finished job would cost a claim of one.
        if ahead and len(self._in_hand) > wanted // 2:
            return 0
        return max(0, wanted - len(self._in_hand))

    def _queue_run(self) -> int:
        mean = self._executor.durations.mean
        if mean is None or mean >= QUICK_SECONDS:
            return 1
        return max(1, min(LONGEST_QUEUE_RUN, int(_AHEAD_SECONDS / max(mean, 1e-6))))

    def _look(self, connection: psycopg.Connection) -> None:
        nothing_runs = not self._in_hand and not self._express.is_busy
        self._flags_failed = False
        try:
            forbidden = self._forbidden_flags()
        except Exception:
            if self._once:
                raise
            self._flags_failed = True
            logger.exception("forbidden_flags failed: no job is claimed until it works again")
            self._looks.nothing_for_a_while()
            return
        self._choose_lanes()
        thorough = self._once and self._dry
        batched, more_batches = self._claim_batch(forbidden, thorough=thorough)
        leased, more_leases = 0, False
        if self._told and batched:
            # We were told of a job, and here it is; what else there may be can wait a moment.
            self._leases.finder.ask()
        else:
            leased, more_leases = self._claim_leases(connection, forbidden, thorough=thorough)
        self._told = False
        found = batched + leased
        self._dry = not found
        lost_a_lane = bool(self._quick) and self._express.is_paused
        self._empty = nothing_runs and thorough and not found and not lost_a_lane
        more = more_batches or more_leases or (self._once and not found and not thorough)
        can_take = self._can_batch() if self._quick else self._room() > 0
        self._full = not can_take or self._executor.free_slots <= 0
        self._looks.looked(found=found, more=more, full=self._full, execute=self._execute)

    def _choose_lanes(self) -> None:
        """Decides which tasks' jobs are for the express lane."""
        quick: list[str] = []
        if self._lane != "lease" and self._express_is_safe and not self._express.is_paused:
            durations, unknown = self._executor.durations, self._lane == "express"
            quick = [
                identifier
                for identifier, task in self._tasks.items()
                # A plain function outlives its time limit, and keeps its named queue so long.
                if (task.is_async or task.timeout is None) and durations.is_quick(identifier, unknown=unknown)
            ]
        if quick != self._quick:
            # What one lane passed over is for the other one now.
            if self._quick:
                self._express.finder.marks.meet(self._leases.finder.marks)
            else:
                self._express.finder.marks.adopt(self._leases.finder.marks)
            self._look_at_queues()
            self._quick = quick

    def _claim_batch(self, forbidden: Sequence[str], *, thorough: bool) -> tuple[int, bool]:
        """Claims for the express lane; returns how many jobs, and whether to go on at once."""
        express = self._express
        if not self._quick or not self._can_batch():
            return 0, False
        batch, more = express.claim(
            self._concurrency, self._quick, forbidden, thorough=thorough, told=self._told
        )
        if batch is None:
            return 0, False
        self._batches_sent += 1
        self._loop.call_soon_threadsafe(self._executor.submit_batch, batch)
        return batch.size, more and express.has_room

    def _can_batch(self) -> bool:
        """Whether a batch would be run: there is a slot, or one will be free, and no job blocks the loop."""
        express, executor = self._express, self._executor
        slots = executor.free_slots > 0 or (express.is_busy and express.is_moving)
        return express.has_room and slots and executor.batches_taken >= self._batches_sent - 1

    def _claim_leases(
        self, connection: psycopg.Connection, forbidden: Sequence[str], *, thorough: bool
    ) -> tuple[int, bool]:
        """Claims for the lease lane; returns the same."""
        room = self._room()
        if not room:
            return 0, False
        per_queue = self._queue_run()
        most_queues = max(min(room, self._concurrency), room // per_queue)
        search = Search(room, most_queues, per_queue, self._quick, forbidden, thorough, self._told)
        heads, more = self._leases.claim(connection, search)
        jobs = [job for head in heads for job in chain(head)]
        if jobs:
            self._take_in_hand(jobs)
            self._held_queues.update((job.queue_id, job.token) for job in heads if job.queue_id is not None)
            self._loop.call_soon_threadsafe(self._executor.submit, heads)
        return len(jobs), more

    def _take_in_hand(self, jobs: Sequence[ClaimedJob]) -> None:
        self._in_hand.update((job.id, job.token) for job in jobs)

    def _execute(self, statement: str) -> None:
        assert self._connection is not None
        self._connection.execute(statement.encode(), [self._worker_id])

    # The connection

    def _open(self) -> psycopg.Connection:
        self._connection = self._connect()
        if self._failures:
            logger.info("the database is back")
            self._reconcile_at = 0.0
        self._looks.forget_declaration()
        self._leases.finder.forget()
        return self._connection

    def _reconcile(self, connection: psycopg.Connection) -> None:
        """Frees claims whose answer never arrived.

        Now and again, not only after a lost connection: the server may carry out a
        claim long after we gave up waiting for it.
        """
        freed = self._leases.recover(connection, [token for _, token in self._in_hand | self._held_queues])
        if freed:
            logger.warning("%s jobs whose claim was cut off are free again: %s", len(freed), freed[:20])
            self._looks.at_once()
        self._reconcile_at = time.monotonic() + self._reconcile_interval

    def _lost(self, problem: psycopg.Error) -> None:
        """Drops the connection and waits; the next turn opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        # No batch outlives its budget because we wait here.
        self._express.disconnect()
        self._failures += 1
        if self._once and self._failures >= _ONCE_TRIES:
            raise problem
        wait = min(_LONGEST_BACKOFF, 0.05 * 2**self._failures) * random.uniform(0.5, 1.0)
        logger.warning(
            "the database did not answer a claim or completion (%s); next try in %.1f s, nothing is lost",
            " ".join(str(problem).split()) or type(problem).__name__,
            wait,
        )
        deadline = time.monotonic() + wait
        while not self._gave_up and (left := deadline - time.monotonic()) > 0:
            self._signal.clear()
            self._signal.wait(left)
