"""The express lane: what an open batch holds, and what is left of it when it is closed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from tests.support.hand_worker import HandWorker
from tests.support.waiting import wait_until
from tidemill.queue import express as module
from tidemill.queue.batch import Batch
from tidemill.queue.claim import Look
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.durations import Durations
from tidemill.queue.express import ExpressLane
from tidemill.queue.lease import LeaseLane
from tidemill.queue.settlement import Settlement

WORKER = "by hand"
EVERYWHERE = Look(quick=["t"], forbidden_flags=[], thorough=True, told=False)
IN_LEASES = Look(quick=[], forbidden_flags=[], thorough=True, told=False)
SOON = 1e9
LEASE = 30.0


class Bench:
    """A lane, and the connections that it has opened."""

    def __init__(self, conninfo: str, own: psycopg.Connection) -> None:
        self.conninfo = conninfo
        self.own = own
        self.opened: list[psycopg.Connection] = []
        self.wakes = 0
        self.leases = LeaseLane(WORKER, ["t"], concurrency=4, durations=Durations(), wake=self._wake)
        self.lane = ExpressLane(
            WORKER,
            ["t"],
            concurrency=4,
            connect=self.connect,
            leases=self.leases,
            lease=LEASE,
            wake=self._wake,
        )

    def connect(self) -> psycopg.Connection:
        self.opened.append(psycopg.connect(self.conninfo, autocommit=True))
        return self.opened[-1]

    def _wake(self) -> None:
        self.wakes += 1

    def add(self, count: int = 1, queue: str | None = None) -> None:
        """Adds jobs that have been due for long, so that a mark passes them."""
        self.own.execute(
            "select tidemill.add_job('t', queue_name => %s, run_at => '2020-01-01')"
            " from generate_series(1, %s)",
            [queue, count],
        )

    def claim(self) -> Batch:
        batch, _ = self.lane.claim(EVERYWHERE)
        assert batch is not None
        return batch

    def claims(self, count: int) -> bool:
        """Whether another worker could claim so many jobs now."""
        with self.own.transaction(force_rollback=True):
            return self.own.execute("select from tidemill._jobs for update skip locked").rowcount == count

    def rows(self) -> list[tuple[Any, ...]]:
        return self.own.execute("select id, attempts, locked_by from tidemill._jobs order by id").fetchall()

    def close(self) -> None:
        for connection in self.opened:
            connection.close()


@pytest.fixture
def bench(database: str, connection: psycopg.Connection) -> Iterator[Bench]:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    made = Bench(database, connection)
    yield made
    made.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch is out of time."""
    monkeypatch.setattr(module, "_BUDGET_SECONDS", SOON)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", SOON)


def take(batch: Batch) -> ClaimedJob:
    taken = batch.take()
    assert taken is not None
    return taken


def status(connection: psycopg.Connection) -> psycopg.pq.TransactionStatus:
    return connection.info.transaction_status


def test_a_claim_that_finds_nothing_leaves_no_transaction_open(bench: Bench) -> None:
    for _ in range(3):
        assert bench.lane.claim(EVERYWHERE) == (None, False)
    # And one connection does for all of them.
    [connection] = bench.opened
    assert status(connection) == psycopg.pq.TransactionStatus.IDLE
    assert not bench.lane.is_busy
    assert bench.lane.has_room


@pytest.mark.usefixtures("patient")
def test_a_batch_is_closed_when_its_jobs_have_ended(bench: Bench) -> None:
    bench.add(2)
    batch = bench.claim()
    job = take(batch)
    assert bench.lane.in_hand == 2
    following = batch.done(job)
    assert following is not None
    assert bench.lane.in_hand == 1
    assert bench.lane.settle_due(0.0) is None
    batch.done(following)
    assert bench.wakes == 1
    settled = bench.lane.settle_due(0.0)
    assert settled is not None
    assert not settled.freed_queues
    assert not settled.look_again
    assert (bench.rows(), bench.lane.is_busy, bench.leases.is_busy) == ([], False, False)
    assert bench.lane.is_moving
    # The next batch takes the same connection.
    bench.add()
    bench.claim()
    assert len(bench.opened) == 1


def test_a_batch_that_is_out_of_time_leases_what_runs(bench: Bench) -> None:
    bench.add(1, "letters")
    bench.add(3)
    batch = bench.claim()
    jobs = {job.id: job for job in (take(batch), take(batch))}
    single = next(job for job in jobs.values() if job.queue_id is None)
    queued = next(job for job in jobs.values() if job.queue_id is not None)
    assert bench.lane.next_due is not None
    settled = bench.lane.settle_due(bench.lane.next_due)
    assert settled is not None
    # Others may have the two that did not start.
    assert settled.look_again
    assert settled.freed_queues
    assert not bench.lane.is_moving
    assert sorted(bench.leases.ids_in_hand) == sorted(jobs)
    assert {row[0] for row in bench.rows() if row[1:] == (1, WORKER)} == set(jobs)
    queues = bench.own.execute("select id, locked_by, claim_token from tidemill._queues").fetchall()
    assert queues == [(queued.queue_id, WORKER, batch.token)]
    # They end as leased jobs do.
    batch.done(single)
    batch.done(queued)
    settled = bench.leases.settle_due(bench.own)
    assert settled is not None
    assert settled.freed_queues
    assert len(bench.rows()) == 2
    assert bench.own.execute("select from tidemill._queues where locked_by is not null").rowcount == 0


@pytest.mark.usefixtures("patient")
def test_jobs_that_never_started_are_claimed_again(bench: Bench) -> None:
    bench.add(3)
    batch = bench.claim()
    take(batch)
    # The mark stands behind them now.
    bench.lane.settle_due(0.0, may_wait=False)
    told = Look(quick=["t"], forbidden_flags=[], thorough=False, told=True)
    again, _ = bench.lane.claim(told)
    assert again is not None
    assert again.size == 2


@pytest.mark.usefixtures("patient")
def test_a_failure_of_a_batch_is_written_as_that_of_a_leased_job(bench: Bench) -> None:
    bench.add()
    batch = bench.claim()
    job = take(batch)
    batch.end(job, Settlement("failed", job.id, job.token, message="boom"))
    assert bench.lane.settle_due(0.0) is not None
    assert bench.leases.ids_in_hand == [job.id]
    bench.leases.settle_due(bench.own)
    assert bench.own.execute("select attempts, last_error, locked_by from tidemill._jobs").fetchall() == [
        (1, "boom", None)
    ]


def test_long_jobs_in_both_lanes_make_room_early(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUDGET_SECONDS", SOON)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 1000.0)
    batches = []
    for _ in range(2):
        bench.add(2)
        batches.append(bench.claim())
    assert not bench.lane.has_room
    due = bench.lane.next_due
    assert due is not None
    assert due < SOON
    for batch in batches:
        # While a job waits to start, the end of a batch is worth waiting for.
        assert bench.lane.settle_due(due) is None
        take(batch)
        take(batch)
    assert bench.lane.settle_due(due - 1) is None
    assert bench.lane.settle_due(due) is not None
    # Only the older one, since that is enough.
    assert bench.lane.has_room
    assert bench.lane.is_busy
    assert sorted(bench.leases.ids_in_hand) == [1, 2]


@pytest.mark.usefixtures("patient")
def test_disconnecting_closes_batches_and_connections(bench: Bench) -> None:
    bench.add(1)
    take(bench.claim())
    bench.lane.claim(EVERYWHERE)
    assert len(bench.opened) == 2
    bench.lane.disconnect()
    assert [connection.closed for connection in bench.opened] == [True, True]
    assert bench.rows() == [(1, 1, WORKER)]
    assert bench.leases.ids_in_hand == [1]


@pytest.mark.usefixtures("patient")
def test_after_a_loss_it_rests_and_forgets_what_it_saw(bench: Bench) -> None:
    bench.add(2)
    batch = bench.claim()
    batch.done(take(batch))
    [connection] = bench.opened
    # Long searches have made full searches rare.
    bench.lane.finder.marks.full_searches.spend(SOON)
    bench.own.execute("select pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
    assert bench.lane.settle_due(0.0, may_wait=False) is not None
    assert connection.closed
    assert bench.lane.is_paused
    assert not bench.lane.is_busy
    # None of the two is in hand, and both are as they were.
    assert not bench.leases.is_busy
    assert bench.rows() == [(1, 0, None), (2, 0, None)]
    elsewhere = Look(quick=["t"], forbidden_flags=[], thorough=False, told=False)
    again, _ = bench.lane.claim(elsewhere)
    assert again is not None
    assert again.size == 2


def test_a_database_that_cannot_be_reached(bench: Bench) -> None:
    def refuse() -> psycopg.Connection:
        raise psycopg.OperationalError("no connection")

    lane = ExpressLane(
        WORKER, ["t"], concurrency=4, connect=refuse, leases=bench.leases, lease=LEASE, wake=lambda: None
    )
    assert lane.claim(EVERYWHERE) == (None, False)
    assert lane.is_paused
    assert not lane.is_busy


def test_a_connection_that_refuses_a_claim_is_closed(bench: Bench, database: str) -> None:
    """As that to a server that has become a standby does."""
    opened: list[psycopg.Connection] = []

    def connect() -> psycopg.Connection:
        opened.append(
            psycopg.connect(database, autocommit=True, options="-c default_transaction_read_only=on")
        )
        return opened[-1]

    lane = ExpressLane(
        WORKER, ["t"], concurrency=4, connect=connect, leases=bench.leases, lease=LEASE, wake=lambda: None
    )
    assert lane.claim(EVERYWHERE) == (None, False)
    assert [connection.closed for connection in opened] == [True]
    assert lane.is_paused


# Other sessions that lock tables


def waits_for_lock(connection: psycopg.Connection) -> bool:
    found = connection.execute(
        "select from pg_locks where not granted and database ="
        " (select oid from pg_database where datname = current_database())"
    )
    return found.rowcount > 0


@contextmanager
def ddl(bench: Bench, statement: str) -> Iterator[Future[Any]]:
    """A session that waits for a lock, since a batch is open."""
    with ThreadPoolExecutor(1) as pool, psycopg.connect(bench.conninfo, autocommit=True) as other:
        running: Future[Any] = pool.submit(other.execute, statement.encode())
        wait_until(lambda: waits_for_lock(bench.own), "the statement to wait")
        assert not running.done()
        yield running
        running.result(30)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "statement",
    [
        "alter table tidemill._jobs add column mine integer",
        "vacuum full tidemill._jobs",
        "create index on tidemill._jobs (created_at)",
        "begin; lock table tidemill._jobs; commit",
        "begin; lock table tidemill._queues; commit",
    ],
)
def test_a_claim_does_not_wait_for_who_waits_for_a_batch(bench: Bench, statement: str) -> None:
    bench.add(1, "letters")
    bench.add(2)
    batch = bench.claim()
    batch.done(take(batch))
    bench.add(3)
    with ddl(bench, statement) as running:
        # It would wait for the batch without an end, if it waited at all.
        with pytest.raises(LockNotAvailable):
            bench.lane.claim(EVERYWHERE)
        assert not bench.lane.is_paused
        # The end of the batch is not held up, and makes way.
        assert bench.lane.settle_due(0.0, may_wait=False) is not None
        running.result(30)
        assert len(bench.rows()) == 5
        # One of the batch had begun, and is leased now.
        assert bench.claim().size == 4
    assert [status(connection) for connection in bench.opened].count(
        psycopg.pq.TransactionStatus.INTRANS
    ) == 1
    assert not any(connection.closed for connection in bench.opened)


def test_leases_do_not_wait_long_for_a_table(
    bench: Bench, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.add(3)
    heads, _ = bench.leases.claim(bench.own, IN_LEASES)
    assert len(heads) == 3
    bench.leases.settle(Settlement.of(heads[0], "done"))
    bench.leases.settle(Settlement("failed", heads[1].id, heads[1].token, message="no"))
    bench.leases.settle(Settlement.of(heads[2], "returned"))
    with psycopg.connect(database) as other:
        other.execute("lock table tidemill._jobs")
        for statement in (
            lambda: bench.leases.settle_due(bench.own),
            lambda: bench.leases.claim(bench.own, IN_LEASES),
            lambda: bench.leases.return_unknown(bench.own),
        ):
            with pytest.raises(LockNotAvailable):
                statement()
    # Nothing of it is forgotten.
    assert bench.leases.settle_due(bench.own) is not None
    assert [(job, attempts) for job, attempts, _ in bench.rows()] == [(heads[1].id, 1), (heads[2].id, 0)]
    assert "lease was taken away" not in caplog.text


def test_the_server_ends_a_batch_whose_worker_says_nothing(bench: Bench) -> None:
    """As a worker that is stopped, or whose network is cut."""
    lane = ExpressLane(
        WORKER,
        ["t"],
        concurrency=4,
        connect=bench.connect,
        leases=bench.leases,
        lease=0.3,
        wake=lambda: None,
    )
    bench.add(2)
    batch, _ = lane.claim(EVERYWHERE)
    assert batch is not None
    wait_until(lambda: bench.claims(2), "the jobs to be free")
    assert lane.settle_due(0.0, may_wait=False) is not None
    assert lane.is_paused
    assert bench.rows() == [(1, 0, None), (2, 0, None)]
