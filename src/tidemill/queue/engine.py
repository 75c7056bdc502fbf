"""The engine: one thread that claims and settles jobs, even while the event loop is blocked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

from tidemill.queue.claimed import chain_length
from tidemill.queue.execute import Executor
from tidemill.queue.lanes import Lanes
from tidemill.queue.looks import Looks, read_notification
from tidemill.queue.marks import Place
from tidemill.queue.own_lease import OwnLease
from tidemill.queue.settle import Settled
from tidemill.queue.sweep import Sweep
from tidemill.queue.trouble import Trouble
from tidemill.texts import log_error

logger = logging.getLogger("tidemill")

_ONCE_TRIES = 8


@dataclass(frozen=True)
class _Found:
    """The result of the last look."""

    jobs: int | None = None
    """How many jobs it found; None before the first look."""
    full: bool = False
    """No more jobs could be claimed, or none could have started."""
    all_done: bool = False
    """Nothing was running, and no job was ready anywhere."""


class Engine:
    """Claims jobs through both lanes, hands them to the executor, and settles those that have ended.

    `connect` opens its connection; `wake` is set when there is something to do. With
    `once` it ends when no job is ready. Every `reconcile_interval` seconds it frees
    jobs that are leased to this worker in the table, but unknown to it. When `own_lease` is over, it
    claims nothing; `sweep` frees what lost workers hold. `forbidden_flags`
    is called before every look. `notify`, `hold_back`, `revive`, `drain` and `give_up` are thread-safe.
    """

    def __init__(
        self,
        *,
        worker_id: str,
        connect: Callable[[], psycopg.Connection],
        lanes: Lanes,
        executor: Executor,
        own_lease: OwnLease,
        sweep: Sweep,
        loop: asyncio.AbstractEventLoop,
        wake: threading.Event,
        poll_interval: float,
        reconcile_interval: float,
        forbidden_flags: Callable[[], Sequence[str]],
        listen: bool,
        once: bool,
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._worker_id = worker_id
        self._connect = connect
        self._lanes = lanes
        self._executor = executor
        self._own_lease = own_lease
        self._sweep = sweep
        self._loop = loop
        self._wake = wake
        self._reconcile_interval = reconcile_interval
        self._forbidden_flags = forbidden_flags
        self._once = once
        self._on_end = on_end
        self._looks = Looks(poll_interval=poll_interval, declares=listen and not once)
        self._thread = threading.Thread(target=self._run, name="tidemill-engine", daemon=True)

        self._revived = False
        self._draining = False
        self._limited_first = False
        self._gave_up = False
        self._connection: psycopg.Connection | None = None
        self._trouble = Trouble()
        self._reconcile_at = 0.0
        self._last = _Found()
        self._claims_nothing = False
        self._flags_error: Exception | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether its thread was started, and runs no more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def notify(self, milliseconds: int = 0, place: tuple[int, Place] | None = None) -> None:
        """A job is due in so many milliseconds; `place` is its priority and place, if they are known."""
        self._lanes.notify(place)
        self._looks.notify(milliseconds)
        self._wake.set()

    def notify_limited(self, payload: str) -> None:
        """A gate is to be visited; the payload is that of `_notify_limited`, or `walk`. Thread-safe."""
        walk = payload == "walk"
        self._lanes.leases.limited.notify(0 if walk else read_notification(payload)[0], walk=walk)
        self._wake.set()

    def hold_back(self, tasks: Collection[str]) -> None:
        """Claims no jobs of these tasks until it is called again. Thread-safe."""
        self._lanes.hold_back(tasks)
        self._looks.notify(0)
        self._wake.set()

    def revive(self) -> None:
        """A new term of the lease begins: other workers may have taken this one for dead."""
        self._revived = True
        self._wake.set()

    def drain(self) -> None:
        """Claims no more jobs; the engine ends when all jobs in hand are settled."""
        self._draining = True
        self._wake.set()

    def give_up(self) -> None:
        """Ends after the current turn or at a lost connection, even if jobs are not settled."""
        self._gave_up = True
        self._wake.set()

    # The thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while not self._is_done():
                try:
                    self._turn()
                    self._trouble.over()
                except (LockNotAvailable, DeadlockDetected):
                    self._give_way()
                except psycopg.Error as problem:
                    self._lost(problem)
        except BaseException as raised:
            error = raised
        error = error or self._flags_error
        try:
            self._lanes.express.disconnect()
            if self._connection is not None:
                self._connection.close()
        except BaseException as raised:
            # Catch everything, because the worker waits for `on_end`.
            error = error or raised
        # A worker that has given up waiting for us may have closed its loop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._on_end, error)

    def _is_done(self) -> bool:
        if self._gave_up:
            return True
        if self._lanes.is_busy or self._lanes.leases.holds_queues:
            return False
        return self._draining or (self._once and self._last.all_done)

    def _turn(self) -> None:
        """Settles jobs that ended, claims others and hands them over, and waits."""
        connection = self._connection or self._open()
        self._wake.clear()
        if self._revived:
            self._revived = False
            self._looks.forget_declaration()
        now = time.monotonic()
        self._settle(connection, now)
        if now >= self._reconcile_at:
            self._reconcile(connection)
        if now >= self._sweep.next_due:
            self._sweep.run(connection)
        self._lanes.read_notifications()
        # Both may take all the room there is, so they take turns at being first.
        self._limited_first = not self._limited_first
        if self._limited_first:
            self._look_limited(connection, now)
        if not self._draining and now >= self._next_look():
            self._look(connection, now)
        if not self._limited_first:
            self._look_limited(connection, now)
        if not self._is_done() and not self._wake.is_set():
            self._wait()

    def _settle(self, connection: psycopg.Connection, now: float) -> None:
        """Writes how jobs ended, before any others are claimed."""
        lanes = self._lanes
        may_wait = not (self._draining or self._own_lease.term.is_over)
        closed = lanes.express.settle_due(now, may_wait=may_wait)
        if closed is not None:
            self._note_settled(closed, could_end=True)
        settled = lanes.leases.settle_due(connection)
        if settled is not None:
            self._note_settled(settled, could_end=not lanes.leases.in_hand)

    def _note_settled(self, settled: Settled, *, could_end: bool) -> None:
        """Looks again if settling made that useful; `could_end`: the lane may have no more jobs in hand."""
        if settled.freed_queues:
            self._lanes.ask_queues()
        # With `once`, the ended jobs may have added others, and no notification tells of them.
        if settled.look_again or self._last.full or (self._once and could_end):
            self._looks.at_once()

    def _next_look(self) -> float:
        searches_at = None if self._claims_nothing else self._lanes.next_search
        return self._looks.next if searches_at is None else min(self._looks.next, searches_at)

    def _next_limited_look(self) -> float | None:
        return (
            None if self._claims_nothing or self._own_lease.term.is_over else self._lanes.leases.next_limited
        )

    def _look(self, connection: psycopg.Connection, now: float) -> None:
        """Looks for jobs; those of the express lane are handed over before the lease lane looks."""
        lanes, executor = self._lanes, self._executor
        regular = self._looks.begin(now)
        term = self._own_lease.term
        if term.is_over:
            term.tell()
            self._hand_over(self._executor.check_term)
        forbidden = None if term.is_over else self._ask_flags()
        self._claims_nothing = forbidden is None
        if forbidden is None:
            self._looks.nothing_for_a_while()
            return
        # A queue that is still leased, to a plain function that outlived its time limit, hides its jobs.
        nothing_ran = not (lanes.leases.in_hand or lanes.leases.holds_queues or lanes.express.is_busy)
        # With `once`, the look after an empty one is thorough; if it is empty, too, the engine ends.
        thorough = self._once and self._last.jobs == 0
        look = lanes.plan(forbidden, regular=regular, thorough=thorough)

        batch, more_batches = lanes.claim_batch(look)
        if batch is not None:
            self._hand_over(executor.submit_batch, batch, term)
        heads, more_leases = lanes.leases.claim(connection, look)
        if heads:
            self._hand_over(executor.submit, heads, term)
        if thorough and (limited := lanes.leases.claim_limited(connection, forbidden, thorough=True)):
            self._hand_over(executor.submit, limited, term)
            heads = [*heads, *limited]

        found = (batch.size if batch is not None else 0) + sum(map(chain_length, heads))
        left_out = lanes.lost_express or self._sweep.has_more
        all_done = nothing_ran and thorough and not found and not left_out
        self._last = _Found(found, lanes.is_full, all_done)
        more = more_batches or more_leases or (self._once and not found and not thorough)
        self._looks.looked(found=found, more=more, full=self._last.full, execute=self._execute)
        if regular and self._looks.is_idle:
            # Producers of limited jobs, too, may have looked whom to notify before.
            lanes.leases.limited.at_once()

    def _look_limited(self, connection: psycopg.Connection, now: float) -> None:
        """Looks for limited jobs, if it is time."""
        leases, term = self._lanes.leases, self._own_lease.term
        due = self._next_limited_look()
        if self._draining or due is None or now < due:
            return
        forbidden = self._ask_flags()
        self._claims_nothing = forbidden is None
        jobs = [] if forbidden is None else leases.claim_limited(connection, forbidden)
        if jobs:
            self._hand_over(self._executor.submit, jobs, term)

    def _ask_flags(self) -> Sequence[str] | None:
        """The forbidden flags; None if the user's function failed, and then no job is claimed."""
        try:
            return self._forbidden_flags()
        except Exception as error:
            if self._once:
                # It ends with this error, once the jobs in hand are settled.
                self._flags_error = error
                self._draining = True
                return None
            log_error(logger, error, "forbidden_flags failed: no job is claimed until it works again")
            return None

    def _hand_over(self, submit: Callable[..., None], *claimed: object) -> None:
        self._loop.call_soon_threadsafe(submit, *claimed)

    def _wait(self) -> None:
        """Waits until there is something to do."""
        waits = [self._reconcile_at, self._sweep.next_due, self._lanes.next_due]
        if not self._draining:
            waits.append(self._next_look())
            waits.append(self._next_limited_look())
        self._wake.wait(max(0.0, min(at for at in waits if at is not None) - time.monotonic()))

    # The connection

    def _execute(self, statement: str) -> None:
        assert self._connection is not None
        self._connection.execute(statement.encode(), [self._worker_id])

    def _open(self) -> psycopg.Connection:
        self._connection = self._connect()
        if self._trouble.losses:
            self._reconcile_at = 0.0
        self._trouble.connected()
        self._looks.forget_declaration()
        self._lanes.leases.finder.forget()
        self._lanes.leases.limited.at_once()
        return self._connection

    def _reconcile(self, connection: psycopg.Connection) -> None:
        """Frees jobs that were claimed by a statement whose answer never arrived.

        Runs regularly, not only after a lost connection: the server may carry out a
        claim long after we gave up waiting for it.
        """
        freed = self._lanes.leases.return_unknown(connection)
        if freed:
            logger.warning("%s jobs whose claim was cut off are free again: %s", len(freed), freed[:20])
            self._looks.at_once()
        self._reconcile_at = time.monotonic() + self._reconcile_interval

    def _lost(self, problem: psycopg.Error) -> None:
        """Drops the connection and waits; the next turn opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        # This ends the open batches: they must not outlive their budget while we wait here.
        self._lanes.express.disconnect()
        wait = self._trouble.lost(problem)
        if self._once and self._trouble.losses >= _ONCE_TRIES:
            raise problem
        self._pause(wait)

    def _give_way(self) -> None:
        """Another session has a lock on our tables, or waits for one: lets it go first."""
        # It may wait for the rows of our batches.
        closed = self._lanes.express.settle_due(0.0, may_wait=False)
        if closed is not None:
            self._note_settled(closed, could_end=True)
        # The first one of two claims may have got its jobs, which are not in hand.
        self._lanes.leases.finder.forget()
        self._reconcile_at = 0.0
        self._looks.at_once()
        self._pause(self._trouble.locked())

    def _pause(self, seconds: float) -> None:
        """Waits so long, whatever ends meanwhile; but not if the worker gives up."""
        deadline = time.monotonic() + seconds
        while not self._gave_up and (left := deadline - time.monotonic()) > 0:
            self._wake.clear()
            self._wake.wait(left)
