"""Leased jobs on the event loop: what has not started goes back, and a queue is freed once."""

from __future__ import annotations

import pytest

from tests.queue.jobs import job, kind
from tidemill.queue.hands import LeasedHand
from tidemill.queue.settle import FreedQueue, Settlement

LETTERS = 7


class Told:
    """A hand, and what it says of its jobs."""

    def __init__(self) -> None:
        self._settled: list[Settlement | FreedQueue] = []
        self.hand = LeasedHand(self._settled.append)

    def news(self) -> list[tuple[str, int]]:
        """What it has said since this was asked last."""
        news = [(kind(one), one.id) for one in self._settled]
        self._settled.clear()
        return news


@pytest.fixture
def told() -> Told:
    return Told()


def test_jobs_of_a_queue_run_one_after_the_other(told: Told) -> None:
    second = job(2, LETTERS)
    first = job(1, LETTERS, then=second)
    told.hand.add([first, job(3)])
    assert told.hand.take() is first
    assert told.hand.done(first) is second
    assert told.news() == [("done", 1)]
    assert told.hand.done(second) is None
    assert told.news() == [("done", 2), ("queue", LETTERS)]


def test_a_failure_keeps_the_queue_for_the_next_job(told: Told) -> None:
    second = job(2, LETTERS)
    first = job(1, LETTERS, then=second)
    told.hand.end(first, Settlement("failed", first.id, first.token))
    assert told.hand.next(first) is second
    assert told.news() == [("failed", 1)]


def test_a_job_that_is_given_back_takes_the_rest_of_its_queue_along(told: Told) -> None:
    first = job(1, LETTERS, then=job(2, LETTERS, then=job(3, LETTERS)))
    told.hand.end(first, Settlement.of(first, "returned"))
    assert told.hand.next(first) is None
    assert told.news() == [("returned", 1), ("returned", 2), ("returned", 3), ("queue", LETTERS)]


def test_what_waits_is_given_back_with_its_queues(told: Told) -> None:
    told.hand.add([job(1, LETTERS, then=job(2, LETTERS)), job(3)])
    told.hand.give_back()
    assert told.news() == [("returned", 1), ("returned", 2), ("queue", LETTERS), ("returned", 3)]
    assert told.hand.take() is None
    # It was no stop: what is claimed later runs.
    told.hand.add([job(4)])
    assert told.hand.take() is not None


def test_after_a_stop_nothing_starts(told: Told) -> None:
    running = job(1, LETTERS, then=job(2, LETTERS))
    told.hand.close()
    # Claimed before the engine knew of the stop.
    told.hand.add([job(3), job(4, 8)])
    assert told.hand.take() is None
    assert told.news() == [("returned", 3), ("returned", 4), ("queue", 8)]
    assert told.hand.done(running) is None
    assert told.news() == [("done", 1), ("returned", 2), ("queue", LETTERS)]
