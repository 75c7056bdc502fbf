"""Who comes first among named queues and other jobs, claim after claim."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.hand_worker import HandWorker
from tidemill.queue.claim import Look
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.durations import Durations
from tidemill.queue.lease import LeaseLane
from tidemill.queue.settle import FreedQueue, Settlement

WORKER = "by hand"
EVERYWHERE = Look(quick=[], forbidden_flags=[], thorough=True, told=False)
TOLD = Look(quick=[], forbidden_flags=[], thorough=False, told=True)


class Bench:
    """A lane with two slots."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.lane = LeaseLane(WORKER, ["t"], concurrency=2, durations=Durations(), wake=lambda: None)

    def add(self, *queues: str | None) -> None:
        for queue in queues:
            self.connection.execute("select tidemill.add_job('t', queue_name => %s)", [queue])

    def run(self, look: Look = EVERYWHERE) -> list[str | None]:
        """Claims jobs and ends them; returns their queues."""
        heads, more = self.lane.claim(self.connection, look)
        self.more = more
        for head in heads:
            self.end(head)
        self.lane.settle_due(self.connection)
        return [head.queue_name for head in heads]

    def end(self, job: ClaimedJob) -> None:
        self.lane.settle(Settlement.of(job, "done"))
        if job.queue_id is not None:
            self.lane.settle(FreedQueue(job.queue_id, job.token))


@pytest.fixture
def bench(connection: psycopg.Connection) -> Bench:
    HandWorker.register(connection, ["t"], worker_id=WORKER)
    return Bench(connection)


def test_queues_and_other_jobs_take_turns(bench: Bench) -> None:
    bench.add(*"abcd", *[None] * 4)
    assert bench.run() == ["a", "b"]
    # Of what was not even looked for there may be more.
    assert bench.more
    assert bench.run() == [None, None]
    assert bench.run() == ["c", "d"]
    assert bench.run() == [None, None]
    assert bench.run() == []
    assert not bench.more


def test_no_queue_comes_twice_before_the_others(bench: Bench) -> None:
    bench.add(*"abcde" * 2)
    assert [bench.run() for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]
    # Behind the last one the rotation begins anew.
    assert [bench.run() for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]


def test_both_kinds_share_a_claim(bench: Bench) -> None:
    bench.add("a", None)
    assert bench.run() == ["a", None]
