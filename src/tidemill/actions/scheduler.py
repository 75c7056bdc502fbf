"""The scheduler: starts actions that are due, stops runs that must end, and records how runs ended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import psycopg
from psycopg.errors import (
    DeadlockDetected,
    InsufficientPrivilege,
    LockNotAvailable,
    ObjectInUse,
    SerializationFailure,
)

from tidemill.actions.backends import Backends
from tidemill.actions.endings import Hindrances, record_end
from tidemill.actions.runner import Ending, Run, StartedRun
from tidemill.complaints import Complaints
from tidemill.database.patient import KeptConnection
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

# So many task actions are enqueued in one turn: the first need not wait for the last, nor a routine for all.
_MOST_TASKS = 250
_SWEEP_SECONDS = 5.0
_CANCEL_SECONDS = 0.25
# A cancelled run gets this long, and then its server process is terminated.
_TERMINATE_SECONDS = 3.0
# A run whose server process is idle for so long has ended; a proxy that hangs keeps the answer.
_UNHEARD_SECONDS = 10.0
_LONGEST_BACKOFF = 5.0
_NO_CONNECTION_SECONDS = 1.0
_SHORTEST_WAIT = 0.005


class Scheduler:
    """Works in a thread and over a connection of its own. There is no leader: any worker may have one.

    connect        opens that connection
    backends       connections for the runs, one for each run
    concurrency    most runs at once; task actions do not count, since they only add a job
    may_start      whether the worker's lease is not over; afterwards others record its runs as lost
    poll_interval  longest time between two looks, in seconds; a notification causes one at once
    once           whether `wait_idle` returns when no action is due or running
    on_end         called from the thread when it ends
    """

    def __init__(
        self,
        *,
        worker_id: str,
        connect: Callable[[], psycopg.Connection],
        backends: Backends,
        concurrency: int,
        may_start: Callable[[], bool],
        poll_interval: float,
        on_end: Callable[[], None],
        once: bool = False,
    ) -> None:
        self._worker_id = worker_id
        self._connection = KeptConnection(connect)
        self._backends = backends
        self._concurrency = concurrency
        self._may_start = may_start
        self._poll_interval = poll_interval
        self._once = once
        self._on_end_of_all = on_end
        self._runs: dict[int, Run] = {}
        self._ended: deque[tuple[Run, Ending | None]] = deque()
        self._hindrances = Hindrances()
        self._unheard: set[int] = set()
        self._resting = 0
        self._wake = threading.Event()
        self._draining = False
        self._hurrying = False
        self._stopped = False
        self._idle = threading.Event()
        self._failures = 0
        self._complaints = Complaints(logger)
        self._lulls = 0
        self._next_sweep = 0.0
        self._no_starts_before = 0.0
        self._thread = threading.Thread(target=self._run, name="tidemill-scheduler", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def notify(self) -> None:
        """Has the scheduler look now: an action was added or changed."""
        self._wake.set()

    def wait_idle(self) -> None:
        """With `once`: returns when no action is due any more and no run is left."""
        self._idle.wait()

    def drain(self) -> None:
        """Starts no more runs."""
        self._draining = True
        self._wake.set()

    def stop(self, patience: float) -> None:
        """Cancels the runs, and ends the thread; gives up after `patience` seconds."""
        self._draining = True
        self._hurrying = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience)
        self._stopped = True
        self._idle.set()
        self._wake.set()
        if self._runs:
            logger.error(
                "%s runs of actions could not be ended; the next sweep of a worker records them as lost",
                len(self._runs),
            )
        self._backends.close_idle(all_of_them=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped:
            try:
                wait = self._look()
                self._failures = 0
            except Exception as error:
                # Catch everything: without this thread no action would run again.
                wait = self._backoff(error)
            if self._draining and not self._runs:
                break
            if wait > 0:
                self._wake.wait(wait)
            self._wake.clear()
        self._idle.set()
        self._connection.close()
        self._on_end_of_all()

    def _backoff(self, error: Exception) -> float:
        self._connection.close()
        self._failures += 1
        if self._once:
            # End `wait_idle`: the engine comes next, and finds the database gone, too.
            self._idle.set()
        wait: float = min(_LONGEST_BACKOFF, 0.1 * 2 ** min(self._failures, 10))
        self._complaints.warn(
            "database", "the scheduler of actions has to wait %.1f s: %s", wait, in_short(error)
        )
        return wait

    def _look(self) -> float:
        """Does all that is due now; returns in how many seconds to look again."""
        connection = self._connection.open()
        self._record_ends(connection)
        self._stop_runs(connection)
        if time.monotonic() >= self._next_sweep:
            self._sweep(connection)
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
        if self._draining:
            return self._wait(None, busy=False)
        busy = self._start_due(connection)
        slots = self._free_slots()
        [(due_in,)] = connection.execute("select tidemill._next_due(%s)", [slots > 0]).fetchall()
        if self._once and not self._runs and not busy:
            # Actions that are still due are locked by other workers, or must be run by them.
            self._idle.set()
        return 0.0 if self._once and busy else self._wait(due_in, busy=busy)

    def _free_slots(self) -> int:
        if not self._may_start() or time.monotonic() < self._no_starts_before:
            return 0
        return self._concurrency - len(self._runs) + self._resting

    def _wait(self, due_in: float | None, *, busy: bool) -> float:
        waits = [self._poll_interval]
        if due_in is not None and due_in > 0:
            waits.append(due_in)
        elif due_in is not None:
            # Due, but locked: by another worker that starts it, or by a long transaction.
            self._lulls = 0 if busy else min(self._lulls + 1, 12)
            waits.append(_SHORTEST_WAIT * 2**self._lulls)
        now = time.monotonic()
        waits.append(max(0.0, self._next_sweep - now))
        if self._no_starts_before > now:
            waits.append(self._no_starts_before - now)
        if self._ended:
            # The end of a run still has to be recorded.
            waits.append(_CANCEL_SECONDS)
        for run in self._runs.values():
            if run.stopped_at is not None:
                waits.append(_CANCEL_SECONDS)
            elif run.deadline is not None:
                waits.append(max(0.0, run.deadline - now))
        return min(waits)

    def _start_due(self, connection: psycopg.Connection) -> bool:
        """Starts actions that are due, a bounded number of them; returns whether there were any."""
        connection.execute("select tidemill._skip_missed()")
        slots = self._free_slots()
        rows = []
        if slots > 0:
            rows = connection.execute(
                "select * from tidemill._start_actions(%s, %s)", [self._worker_id, slots]
            ).fetchall()
        for row in rows:
            started = StartedRun(*row)
            run = Run(started, self._backends, self._on_end)
            run.start()
            self._runs[started.run_id] = run
        # One bunch in each turn, so that ends are recorded and routines started between two of them.
        enqueued = 0
        if not self._draining:
            [(enqueued,)] = connection.execute(
                "select tidemill._enqueue_actions(%s)", [_MOST_TASKS]
            ).fetchall()
        return bool(rows) or enqueued > 0

    def _on_end(self, run: Run, ending: Ending | None) -> None:
        self._ended.append((run, ending))
        self._wake.set()

    def _record_ends(self, connection: psycopg.Connection) -> None:
        self._resting = 0
        for _ in range(len(self._ended)):
            run, ending = self._ended[0]
            if ending is None:
                ending = self._hindrances.ending(run)
            rests = ending is None and time.monotonic() < run.rests_until
            if rests and not self._once and not self._draining:
                # It would be due at once. Meanwhile others may have its slot.
                self._resting += 1
                self._ended.rotate(-1)
                continue
            try:
                if ending is None:
                    connection.execute("select tidemill._give_back_run(%s)", [run.started.run_id])
                    if run.hindrance is None or self._once:
                        # No connection: the others would have none, either.
                        self._no_starts_before = time.monotonic() + _NO_CONNECTION_SECONDS
                else:
                    record_end(connection, run, ending)
            except (LockNotAvailable, ObjectInUse, SerializationFailure, DeadlockDetected):
                # The action is being changed, or its server process still runs: try again at the next look.
                self._ended.rotate(-1)
                continue
            except psycopg.Error as error:
                if connection.closed:
                    raise
                # Whatever is wrong with this run, the ends of the others must be recorded.
                if not run.has_complained:
                    run.has_complained = True
                    logger.warning(
                        "the end of run %s could not be recorded, which is tried again: %s",
                        run.started.run_id,
                        in_short(error),
                    )
                self._ended.rotate(-1)
                continue
            self._hindrances.note(run, given_back=ending is None)
            self._ended.popleft()
            del self._runs[run.started.run_id]
        self._backends.close_idle()

    def _stop_runs(self, connection: psycopg.Connection) -> None:
        if not self._runs:
            return
        asked = connection.execute("select * from tidemill._stops_asked(%s)", [self._worker_id]).fetchall()
        for run_id, why in asked:
            if run_id in self._runs:
                self._runs[run_id].stop("stopped", f"the action was {why} while it ran")
        now = time.monotonic()
        for run in self._runs.values():
            if run.deadline is not None and now >= run.deadline:
                run.stop("timeout", f"canceled after its max_runtime of {run.started.max_runtime:g} s")
            if self._hurrying:
                run.stop("stopped", "the worker was shut down while it ran")
            if run.stopped_at is None:
                continue
            try:
                run.cancel(connection)
                if now - run.stopped_at > _TERMINATE_SECONDS:
                    run.terminate(connection)
            except InsufficientPrivilege as error:
                # The other runs must go on.
                self._complaints.warn("right", "a run cannot be stopped: %s", in_short(error))

    def _sweep(self, connection: psycopg.Connection) -> None:
        with contextlib.suppress(LockNotAvailable):
            connection.execute(
                "select tidemill._give_back_strays(%s, %s::bigint[])", [self._worker_id, list(self._runs)]
            )
        for _, action_id, name, outcome, message in connection.execute(
            "select * from tidemill._sweep_runs()"
        ).fetchall():
            logger.warning("action %s (%s): %s: %s", action_id, name, outcome, message)
        found = connection.execute(
            "select * from tidemill._unheard_runs(%s, %s)", [self._worker_id, _UNHEARD_SECONDS]
        ).fetchall()
        for run_id, why in found:
            run = self._runs.get(run_id)
            # Only at the second look, since the answer may be on its way.
            if run_id in self._unheard and run is not None and run.is_called and run.pid is not None:
                run.give_up(why)
        self._unheard = {run_id for run_id, _ in found}
