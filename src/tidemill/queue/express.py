"""The express lane: batches that are claimed by row locks, and written once, at their end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

from tidemill.complaints import Complaints
from tidemill.database.words import in_short
from tidemill.queue.arrays import MOST_BYTES, RECORD_ARRAYS, array, record_arrays
from tidemill.queue.batch import Batch
from tidemill.queue.claim import MOST_OF_ONE_QUEUE, Finder, Look, Search
from tidemill.queue.claimed import ClaimedJob, Record
from tidemill.queue.lease import LeaseLane
from tidemill.queue.refused import REFUSALS
from tidemill.queue.settle import Settled
from tidemill.queue.settlement import Settlement
from tidemill.times import moment

logger = logging.getLogger("tidemill")

# Two batches overlap: one runs while the other is settled and the next one is claimed.
_MOST_BATCHES = 2
_LARGEST_BATCH = 2000
_SMALLEST_BATCH = 20
# How long a batch should take, and how long its transaction lasts at most.
_BATCH_SECONDS = 0.04
_BUDGET_SECONDS = 0.15
# A claim waits no longer for a lock: who holds it may wait for the rows of the other batch.
_LOCK_SECONDS = 0.1
# When both batches are open and no job waits to start, running jobs are leased after this time.
_PATIENCE_SECONDS = 0.01
# A batch is at most this many times as large as the one before.
_GROWTH = 4
_CAUTION_SECONDS = 60.0


class _Open:
    """A batch with the connection whose transaction holds its locks."""

    def __init__(self, connection: psycopg.Connection, batch: Batch, filled: bool, now: float) -> None:
        self.connection = connection
        self.batch = batch
        self.filled = filled
        self.opened = now

    def is_due(self, now: float) -> bool:
        return self.batch.is_over or now >= self.opened + _BUDGET_SECONDS


class ExpressLane:
    """Claims and closes batches. All methods belong to the engine's thread.

    Jobs that are running when their batch is closed continue in the lease lane.
    `wake` tells the engine that a batch is over. The server ends the transaction of a batch
    whose worker says nothing for `lease` seconds.
    """

    def __init__(
        self,
        worker_id: str,
        identifiers: Sequence[str],
        *,
        concurrency: int,
        connect: Callable[[], psycopg.Connection],
        leases: LeaseLane,
        lease: float,
        wake: Callable[[], None],
    ) -> None:
        self._worker_id = worker_id
        self._concurrency = concurrency
        self._connect = connect
        self._leases = leases
        self._wake = wake
        self._begin = _beginning(lease)
        self._complaints = Complaints(logger)
        self.finder = Finder("express", worker_id, identifiers)
        self._idle: list[psycopg.Connection] = []
        self._open: list[_Open] = []
        self.is_moving = True
        """Whether any job of the last closed batches had ended."""
        self._closed_at = 0.0
        self._paused_until = 0.0
        self._job_seconds = _BATCH_SECONDS / _SMALLEST_BATCH

    @property
    def is_busy(self) -> bool:
        """Whether a batch is open."""
        return bool(self._open)

    @property
    def has_room(self) -> bool:
        """Whether another batch may be claimed."""
        return len(self._open) < _MOST_BATCHES

    @property
    def is_paused(self) -> bool:
        """Whether a connection was lost lately: a job may be the cause, and must spend its attempts."""
        return time.monotonic() < self._paused_until

    @property
    def in_hand(self) -> int:
        """Jobs of open batches that have not ended."""
        return sum(one.batch.size - one.batch.ended for one in list(self._open))

    @property
    def next_due(self) -> float | None:
        """When a batch must be closed, at the latest."""
        if not self._open:
            return None
        wait = _BUDGET_SECONDS if self.has_room else _PATIENCE_SECONDS
        first, now = self._open[0].opened, time.monotonic()
        # After this wait the batch is kept only while jobs wait to start; the end of a batch wakes us.
        return first + (wait if first + wait > now else _BUDGET_SECONDS)

    def claim(self, look: Look) -> tuple[Batch | None, bool]:
        """Claims a batch, and says whether there may be more jobs.

        Raises LockNotAvailable, DeadlockDetected if another session holds a lock on the tables.
        """
        wanted = max(_SMALLEST_BATCH, min(_LARGEST_BATCH, int(_BATCH_SECONDS / self._job_seconds)))
        # The jobs of a queue run one after the other: take as many as one slot can run.
        run = int(_BATCH_SECONDS / self._job_seconds / self._concurrency)
        per_queue = max(1, min(MOST_OF_ONE_QUEUE, run))
        search = Search(look, wanted, max(self._concurrency, wanted // per_queue), per_queue)
        connection: psycopg.Connection | None = None
        try:
            connection = self._idle.pop() if self._idle else self._connect()
            began = time.perf_counter()
            token = self._begin_batch(connection)
            jobs, more = self.finder.find(connection, search, began=began)
            if not jobs:
                self._put_back(connection)
                return None, False
        except (LockNotAvailable, DeadlockDetected):
            # The marks may have moved behind jobs that are free again.
            self.finder.forget()
            assert connection is not None
            self._put_back(connection)
            raise
        except psycopg.Error as error:
            self._lost(connection, error)
            return None, False
        batch = Batch(token, jobs, self._leases.settle, self._wake)
        self._open.append(_Open(connection, batch, more, time.monotonic()))
        return batch, more

    def settle_due(self, now: float, *, may_wait: bool = True) -> Settled | None:
        """Closes batches that are over or out of time, or all unless `may_wait`; None if it closes none."""
        due = [one for one in self._open if not may_wait or one.is_due(now)]
        if not due and not self.has_room and not any(one.batch.has_waiting for one in self._open):
            # A few long jobs must not occupy both batches and keep short ones waiting.
            due = [one for one in self._open[:1] if now >= one.opened + _PATIENCE_SECONDS]
        if not due:
            return None
        self.is_moving = any(one.batch.ended for one in due)
        settled = Settled(
            freed_queues=any(one.batch.has_queues for one in due),
            look_again=any(one.batch.has_waiting for one in due),
        )
        for one in due:
            self._open.remove(one)
            self._close(one)
        return settled

    def disconnect(self) -> None:
        """Closes the open batches, and the connections."""
        self.settle_due(0.0, may_wait=False)
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _begin_batch(self, connection: psycopg.Connection) -> int:
        """Begins a transaction; returns its claim token, for the jobs that will have to be leased."""
        cursor = connection.execute(self._begin)
        # The last statement has the result.
        while cursor.nextset():
            pass
        [(token,)] = cursor.fetchall()
        return int(token)

    def _put_back(self, connection: psycopg.Connection) -> None:
        """Ends a transaction without jobs."""
        try:
            connection.execute("rollback")
        except psycopg.Error as error:
            self._lost(connection, error)
        else:
            self._idle.append(connection)

    def _close(self, one: _Open) -> None:
        batch, connection = one.batch, one.connection
        closed = batch.close()
        kept = [job.record for job in closed.kept if job.record is not None]
        done = array(closed.done)
        try:
            if kept and not self._keep(connection, closed.kept, kept):
                # They end as leased jobs do.
                closed.started.extend(closed.kept)
                closed.failed.extend(Settlement.of(job, "done") for job in closed.kept)
            started = array(job.id for job in closed.started)
            connection.execute(
                "select tidemill._settle_batch(%s, %s, %s::bigint[], %s::bigint[], %s::bigint[])",
                [self._worker_id, batch.token, done, started, array(closed.queues)],
            )
            connection.execute("commit")
        except psycopg.Error as error:
            self._lost(connection, error)
            self._complaints.warn(
                "batch",
                "%s jobs of the batch that this connection held had started; "
                "they run again unless their end was written just before",
                len(closed.done) + len(closed.kept) + len(closed.started),
            )
            return
        self._idle.append(one.connection)
        self._leases.take_in_hand(closed.started)
        self._leases.hold_queues((queue_id, batch.token) for queue_id in closed.queues)
        for settlement in closed.failed:
            self._leases.settle(settlement)
        # These are free again, and behind the marks.
        for job in closed.unstarted:
            if job.queue_id is None:
                self.finder.marks.lower(job.priority, (moment(job.run_at), job.id))
        self._measure(one)

    def _keep(
        self, connection: psycopg.Connection, jobs: Sequence[ClaimedJob], kept: Sequence[Record]
    ) -> bool:
        """Ends jobs whose history is kept; False if they cannot end now."""
        if not self._leases.open_keeps.issuperset(record.keep for record in kept):
            # To make their partitions would take longer than a batch may.
            return False
        if sum(len(record.result) for record in kept if record.result is not None) > MOST_BYTES:
            return False
        connection.execute("savepoint kept")
        try:
            row = connection.execute(
                f"select tidemill._settle_kept_batch(%s, %s::bigint[], {RECORD_ARRAYS})",
                [self._worker_id, array(job.id for job in jobs), *record_arrays(kept)],
            ).fetchone()
        except REFUSALS:
            # The server has refused a parameter before the function could. The lease lane finds out which.
            connection.execute("rollback to savepoint kept")
            return False
        assert row is not None
        return bool(row[0])

    def _measure(self, one: _Open) -> None:
        """Learns how fast jobs run, from a batch that is closed."""
        now = time.monotonic()
        ended = one.batch.ended
        seconds = (now - max(one.opened, self._closed_at)) / max(1, ended)
        self._closed_at = now
        # A small batch that ran out of jobs does not show how fast a large one is.
        if one.filled or ended < one.batch.size or seconds < self._job_seconds:
            self._job_seconds = max(seconds, self._job_seconds / _GROWTH)

    def _lost(self, connection: psycopg.Connection | None, error: psycopg.Error) -> None:
        """Drops a connection; the server undoes what was not committed."""
        if connection is not None:
            connection.close()
        self.finder.forget()
        self._paused_until = time.monotonic() + _CAUTION_SECONDS
        self._complaints.warn(
            "database",
            "the express lane lost its connection (%s); for %g s all jobs are claimed by lease",
            in_short(error),
            _CAUTION_SECONDS,
        )


def _beginning(lease: float) -> bytes:
    """The statements that begin the transaction of a batch, and draw its claim token."""
    # At a higher isolation level, a row that another claim has just changed is an error, not skipped.
    # All locks on tables are taken here: with the weaker ones of a claim alone, its end would have to wait
    # for an index that is built meanwhile.
    return (
        "begin isolation level read committed;"
        f" set local lock_timeout to {int(_LOCK_SECONDS * 1000)};"
        f" set local idle_in_transaction_session_timeout to {max(1, int(lease * 1000))};"
        " lock table tidemill._jobs, tidemill._queues in row exclusive mode;"
        " select pg_catalog.nextval('tidemill._claim_tokens')"
    ).encode()
