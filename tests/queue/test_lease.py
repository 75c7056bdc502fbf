"""The lease lane: what is in hand stays ours until it is written, and what is not is freed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from msgspec.structs import replace

from tests.queue.jobs import job
from tests.support.hand_worker import HandWorker
from tidemill.queue.arrays import MOST_BYTES
from tidemill.queue.claim import Look
from tidemill.queue.claimed import ClaimedJob, Record, chain
from tidemill.queue.durations import Durations
from tidemill.queue.lease import LeaseLane
from tidemill.queue.settlement import FreedQueue, Settlement

WORKER = "by hand"
EVERYWHERE = Look(quick=[], forbidden_flags=[], thorough=True, told=False)


@dataclass
class Bench:
    """A lane with a connection and its durations, as the engine has them."""

    lane: LeaseLane
    connection: psycopg.Connection
    wakes: list[None]

    def add(self, count: int = 1, queue: str | None = None) -> None:
        self.connection.execute(
            "select tidemill.add_job('t', queue_name => %s) from generate_series(1, %s)", [queue, count]
        )

    def claim(self) -> list[ClaimedJob]:
        """Claims what there is; the heads of named queues, and other jobs."""
        heads, _ = self.lane.claim(self.connection, EVERYWHERE)
        return heads

    def rows(self) -> list[tuple[int, str | None]]:
        return self.connection.execute("select id, locked_by from tidemill._jobs order by id").fetchall()

    def held_queues(self) -> int:
        return self.connection.execute("select from tidemill._queues where locked_by is not null").rowcount


def make(concurrency: int, *, seconds: float | None, wakes: list[None] | None = None) -> LeaseLane:
    """A lane whose jobs take so long."""
    durations = Durations()
    if seconds is not None:
        durations.add("t", seconds, leased=True)
    told = [] if wakes is None else wakes
    return LeaseLane(
        WORKER, ["t"], concurrency=concurrency, durations=durations, wake=lambda: told.append(None)
    )


@pytest.fixture
def bench(connection: psycopg.Connection) -> Bench:
    """Of jobs that take a millisecond, so that a queue is claimed with all of its jobs."""
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    wakes: list[None] = []
    return Bench(make(4, seconds=0.001, wakes=wakes), connection, wakes)


@pytest.fixture
def producer(database: str) -> Iterator[psycopg.Connection]:
    """A connection that holds rows until it commits."""
    with psycopg.connect(database) as opened:
        yield opened


def done(job: ClaimedJob) -> Settlement:
    return Settlement.of(job, "done")


def test_all_jobs_of_a_queue_are_in_hand(bench: Bench) -> None:
    bench.add(3, "letters")
    [head] = bench.claim()
    assert [one.id for one in chain(head)] == [1, 2, 3]
    assert (bench.lane.in_hand, sorted(bench.lane.ids_in_hand)) == (3, [1, 2, 3])
    assert bench.lane.holds_queues
    # So none of them is taken for a claim that was cut off.
    assert bench.lane.return_unknown(bench.connection) == []
    assert bench.rows() == [(1, WORKER), (2, WORKER), (3, WORKER)]


def test_a_claim_that_nobody_heard_of_is_freed(bench: Bench) -> None:
    bench.add(2)
    [first, second] = bench.claim()
    deaf = make(4, seconds=None)
    deaf.take_in_hand([first])
    # Both came with one claim.
    assert deaf.return_unknown(bench.connection) == []
    assert sorted(make(4, seconds=None).return_unknown(bench.connection)) == [first.id, second.id]
    assert bench.rows() == [(1, None), (2, None)]


def test_a_queue_is_held_for_longer_than_its_jobs(bench: Bench) -> None:
    bench.add(1, "letters")
    [head] = bench.claim()
    bench.lane.settle(done(head))
    settled = bench.lane.settle_due(bench.connection)
    assert settled is not None
    assert not settled.freed_queues
    assert (bench.rows(), bench.lane.in_hand, bench.lane.holds_queues) == ([], 0, True)
    # A plain function that outlives its time limit keeps it.
    bench.lane.return_unknown(bench.connection)
    assert bench.held_queues() == 1
    assert head.queue_id is not None
    bench.lane.settle(FreedQueue(head.queue_id, head.token))
    settled = bench.lane.settle_due(bench.connection)
    assert settled is not None
    assert settled.freed_queues
    assert (bench.held_queues(), bench.lane.holds_queues, bench.lane.is_busy) == (0, False, False)


def test_what_ended_wakes_the_engine_and_waits_to_be_written(bench: Bench) -> None:
    bench.add()
    [claimed] = bench.claim()
    assert bench.lane.settle_due(bench.connection) is None
    bench.lane.settle(done(claimed))
    assert len(bench.wakes) == 1
    assert bench.lane.is_busy
    bench.lane.settle_due(bench.connection)
    assert not bench.lane.is_busy
    # What is no job of ours waits, too: the next turn drops it.
    bench.lane.settle(done(job(99)))
    assert bench.lane.is_busy
    assert bench.lane.settle_due(bench.connection) is None
    assert not bench.lane.is_busy


def test_long_texts_are_written_in_parts(bench: Bench) -> None:
    half = "x" * (MOST_BYTES // 2)
    bench.add(5)
    bench.connection.execute("select tidemill._open_history(1::smallint)")
    [first, second, third, fourth, fifth] = bench.claim()
    for one in (first, second, third):
        record = Record(1, False, 0.1, 0.0, f'"{half}"', None)
        bench.lane.settle(replace(done(one), record=record))
    for one in (fourth, fifth):
        bench.lane.settle(Settlement("failed", one.id, one.token, "t", message="no", payload=f'["{half}"]'))
    ended = "select count(*) from tidemill._jobs where locked_at is null"
    written = []
    while bench.lane.is_busy:
        bench.lane.settle_due(bench.connection)
        written.append(5 - len(bench.lane.ids_in_hand))
        # The engine goes on at once.
        assert (bench.lane.next_due is None) == (not bench.lane.is_busy)
    assert written == [2, 4, 5]
    assert bench.connection.execute(ended).fetchone() == (2,)
    assert bench.connection.execute("select count(*) from tidemill.job_history").fetchone() == (3,)


def test_a_row_that_a_producer_holds_is_tried_again(bench: Bench, producer: psycopg.Connection) -> None:
    bench.add(2)
    [held, free] = bench.claim()
    producer.execute("select from tidemill._jobs where id = %s for update", [held.id])
    bench.lane.settle(done(held))
    bench.lane.settle(done(free))
    bench.lane.settle_due(bench.connection)
    assert bench.rows() == [(held.id, WORKER)]
    assert bench.lane.ids_in_hand == [held.id]
    assert bench.lane.is_busy
    assert isinstance(bench.lane.next_due, float)
    assert bench.lane.return_unknown(bench.connection) == []
    producer.rollback()
    bench.lane.settle_due(bench.connection)
    assert bench.rows() == []
    assert not bench.lane.is_busy
    assert bench.lane.next_due is None


def test_what_a_broken_connection_may_have_written_is_sent_again(
    bench: Bench, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tidemill")
    bench.add(1, "letters")
    bench.add(1)
    heads = bench.claim()
    for head in heads:
        bench.lane.settle(done(head))
        if head.queue_id is not None:
            bench.lane.settle(FreedQueue(head.queue_id, head.token))
    with psycopg.connect(database, autocommit=True) as broken:
        broken.close()
        with pytest.raises(psycopg.OperationalError):
            bench.lane.settle_due(broken)
    assert (bench.lane.in_hand, bench.lane.is_busy, bench.lane.holds_queues) == (2, True, True)
    # As if the server had carried one of them out.
    bench.connection.execute("delete from tidemill._jobs where id = %s", [heads[0].id])
    bench.lane.settle_due(bench.connection)
    assert (bench.rows(), bench.held_queues()) == ([], 0)
    assert (bench.lane.is_busy, bench.lane.holds_queues) == (False, False)
    assert "settled before the connection broke" in caplog.text
    # Of a lease that is lost later, nothing is uncertain.
    caplog.clear()
    bench.lane.take_in_hand([heads[0]])
    bench.lane.settle(done(heads[0]))
    bench.lane.settle_due(bench.connection)
    assert "the lease was taken away, so nothing was written" in caplog.text


def test_room_that_is_made_is_told_once(bench: Bench) -> None:
    lane = make(2, seconds=None)
    bench.add(3)
    heads, _ = lane.claim(bench.connection, EVERYWHERE)
    assert (len(heads), lane.room) == (2, 0)
    assert lane.claim(bench.connection, EVERYWHERE) == ([], False)
    looks = []
    for head in heads:
        lane.settle(done(head))
        settled = lane.settle_due(bench.connection)
        assert settled is not None
        looks.append(settled.look_again)
    assert looks == [True, False]


def test_room_that_durations_made_is_told_at_the_next_settlement(bench: Bench) -> None:
    """The claim was turned away, and before its look ended a quick job made room: nobody else would look."""
    lane = make(2, seconds=None)
    bench.add(3)
    heads, _ = lane.claim(bench.connection, EVERYWHERE)
    assert lane.claim(bench.connection, EVERYWHERE) == ([], False)
    lane._durations.add("task", 0.001, leased=True)
    assert lane.room > 0
    lane.settle(done(heads[0]))
    settled = lane.settle_due(bench.connection)
    assert settled is not None
    assert settled.look_again


@pytest.mark.parametrize(
    ("concurrency", "seconds", "in_hand", "room"),
    [
        # Nothing is known of jobs that have not run: one for each slot.
        (4, None, 0, 4),
        (4, None, 3, 1),
        (4, None, 4, 0),
        # Slow ones go into free slots, too.
        (4, 0.02, 3, 1),
        # As many quick ones as run in 50 ms, refilled at half.
        (4, 0.001, 0, 204),
        (4, 0.001, 102, 102),
        (4, 0.001, 103, 0),
        (4, 1e-9, 0, 500),
        # As many as the slots, at least.
        (800, None, 0, 800),
        (800, 0.001, 0, 800),
    ],
)
def test_room(concurrency: int, seconds: float | None, in_hand: int, room: int) -> None:
    lane = make(concurrency, seconds=seconds)
    lane.take_in_hand(job(number) for number in range(in_hand))
    assert lane.room == room
