"""The engine: one thread that claims jobs and settles them, whatever the event loop does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import psycopg

from tidemill.queue.claim import Lane, Unit
from tidemill.queue.complete import Settlement
from tidemill.queue.execute import Executor
from tidemill.queue.looks import Looks

logger = logging.getLogger("tidemill")

_LARGEST_CLAIM = 500
# Quick jobs are claimed ahead, as many as run in about this time; slow ones only into free slots.
_AHEAD_SECONDS = 0.05
_QUICK_SECONDS = 0.02
_LONGEST_QUEUE_RUN = 20
_BUSY_ROW_RETRY = 0.02
_LONGEST_BACKOFF = 5.0
_ONCE_TRIES = 8


class Engine:
    """Claims into the executor and settles what comes out of it.

    `connect` opens its connection; `lane` makes the lane over it. With `once` it
    ends when nothing is ready. Every `reconcile_interval` seconds it frees what the
    table says is ours and is not. Thread-safe: `settle`, `notify`, `revive`,
    `drain`, `give_up`.
    """

    def __init__(
        self,
        *,
        worker_id: str,
        connect: Callable[[], psycopg.Connection],
        lane: Callable[[psycopg.Connection], Lane],
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
        self._make_lane = lane
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
        self._revived = False
        self._draining = False
        self._gave_up = False
        self._thread = threading.Thread(target=self._run, name="tidemill-engine", daemon=True)

        self._connection: psycopg.Connection | None = None
        self._lane: Lane | None = None
        self._failures = 0
        # Sent over a connection that broke: they may have been written or not.
        self._uncertain: set[tuple[int, int]] = set()
        self._in_hand: set[tuple[int, int]] = set()
        self._reconcile_at = 0.0
        self._empty = False

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def in_hand(self) -> list[int]:
        """Jobs claimed and not yet settled."""
        return [job_id for job_id, _ in list(self._in_hand)]

    def settle(self, settlement: Settlement) -> None:
        """Takes how a job ended."""
        self._inbox.append(settlement)
        self._signal.set()

    def notify(self, milliseconds: int = 0) -> None:
        """Says that a job is due in so many milliseconds."""
        self._looks.notify(milliseconds)
        self._signal.set()

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
        if self._connection is not None:
            self._connection.close()
        # A worker that gave up on us does not wait, and may have closed its loop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._on_end, error)

    def _is_done(self) -> bool:
        if self._gave_up:
            return True
        nothing_left = not self._in_hand and not self._inbox
        return nothing_left and (self._draining or (self._once and self._empty))

    def _turn(self) -> None:
        lane = self._lane or self._open()
        self._signal.clear()
        if self._revived:
            self._revived = False
            self._looks.forget_declaration()
        busy_rows = self._flush(lane)
        now = time.monotonic()
        if now >= self._reconcile_at:
            self._reconcile(lane)
        if not self._draining and now >= self._looks.next:
            self._looks.begin(now)
            self._look(lane)
        if self._is_done() or self._signal.is_set():
            return
        wait = self._reconcile_at - time.monotonic()
        if not self._draining:
            wait = min(wait, self._looks.next - time.monotonic())
        if busy_rows:
            wait = min(wait, _BUSY_ROW_RETRY)
        self._signal.wait(max(0.0, wait))

    def _flush(self, lane: Lane) -> bool:
        """Writes what has ended, before anything else is claimed; True if rows were held."""
        batch = []
        while self._inbox:
            batch.append(self._inbox.popleft())
        if not batch:
            return False
        try:
            result = lane.settle(batch)
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
                # The next job of that queue can be claimed now.
                self._looks.at_once()
            else:
                self._in_hand.discard((settlement.id, settlement.token))
        # What ran may have added jobs, and nobody notifies a worker that is about to end.
        if (full and self._room() > 0) or (self._once and not self._in_hand):
            self._looks.at_once()
        result.log(self._uncertain)
        if self._uncertain:
            self._uncertain.intersection_update(
                (settlement.id, settlement.token) for settlement in self._inbox
            )
        return bool(busy)

    def _room(self) -> int:
        """How many jobs may be claimed now, counted by the time that they will take."""
        mean = self._executor.mean_seconds
        ahead = 0
        if mean is not None and mean < _QUICK_SECONDS:
            ahead = int(self._concurrency * _AHEAD_SECONDS / max(mean, 1e-6))
        wanted = min(self._concurrency + ahead, max(_LARGEST_CLAIM, self._concurrency))
        # Refill at half, or each finished job would cost a claim of one.
        if ahead and len(self._in_hand) > wanted // 2:
            return 0
        return max(0, wanted - len(self._in_hand))

    def _queue_run(self) -> int:
        mean = self._executor.mean_seconds
        if mean is None or mean >= _QUICK_SECONDS:
            return 1
        return max(1, min(_LONGEST_QUEUE_RUN, int(_AHEAD_SECONDS / max(mean, 1e-6))))

    def _look(self, lane: Lane) -> None:
        room = self._room()
        nothing_runs = not self._in_hand
        units: list[Unit] = []
        if room:
            try:
                forbidden = self._forbidden_flags()
            except Exception:
                if self._once:
                    raise
                logger.exception("forbidden_flags failed: no job is claimed until it works again")
                self._looks.nothing_for_a_while()
                return
            units = lane.claim(room, self._queue_run(), forbidden)
        claimed = sum(map(len, units))
        if units:
            self._in_hand.update((job.id, job.token) for unit in units for job in unit)
            self._loop.call_soon_threadsafe(self._executor.submit, units)
        self._empty = nothing_runs and not units
        if claimed < room:
            self._looks.found_less(self._execute)
        else:
            self._looks.found_enough(self._execute, full=room == 0)

    def _execute(self, statement: str) -> None:
        assert self._connection is not None
        self._connection.execute(statement.encode(), [self._worker_id])

    # The connection

    def _open(self) -> Lane:
        self._connection = self._connect()
        lane = self._make_lane(self._connection)
        if self._failures:
            logger.info("the database is back")
            self._reconcile_at = 0.0
        self._looks.forget_declaration()
        self._lane = lane
        return lane

    def _reconcile(self, lane: Lane) -> None:
        """Frees claims whose answer never arrived.

        Now and again, not only after a lost connection: the server may carry out a
        claim long after we gave up waiting for it.
        """
        freed = lane.recover([token for _, token in self._in_hand])
        if freed:
            logger.warning("%s jobs whose claim was cut off are free again: %s", len(freed), freed[:20])
            self._looks.at_once()
        self._reconcile_at = time.monotonic() + self._reconcile_interval

    def _lost(self, problem: psycopg.Error) -> None:
        """Drops the connection and waits; the next turn opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._lane = None
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
