"""Leased jobs on the event loop: when groups start, what goes back, and that a queue is freed once."""

from __future__ import annotations

import pytest

from tests.queue.jobs import job, kind
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.hands import LeasedHand
from tidemill.queue.settlement import FreedQueue, Settlement
from tidemill.queue.starts import Answered

LETTERS = 7


class Told:
    """A hand, and what it says of its jobs."""

    def __init__(self) -> None:
        self._settled: list[Settlement | FreedQueue] = []
        self.asked: list[tuple[int, Answered]] = []
        """Claim tokens of groups that want to start."""
        self.woken = 0
        self.hand = LeasedHand(
            self._settled.append,
            lambda token, answered: self.asked.append((token, answered)),
            4,
            self.wake,
            lambda call: call(),
        )

    def wake(self) -> None:
        self.woken += 1

    def answer(self, may_start: bool) -> int:
        """Answers the one question that is open; returns its token."""
        [(token, answered)] = self.asked
        self.asked.clear()
        answered(may_start)
        return token

    def news(self) -> list[tuple[str, int]]:
        """What it has said since this was asked last."""
        news = [(kind(one), one.id) for one in self._settled]
        self._settled.clear()
        return news


@pytest.fixture
def told() -> Told:
    return Told()


def ahead(token: int, *numbers: int) -> list[ClaimedJob]:
    """A group of jobs that were claimed ahead."""
    jobs = [job(number) for number in numbers]
    for one in jobs:
        one.token, one.waits = token, True
    return jobs


def taken(told: Told, count: int) -> list[int | None]:
    """The ids of the next jobs to start."""
    jobs = [told.hand.take() for _ in range(count)]
    return [None if one is None else one.id for one in jobs]


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


def test_a_group_is_asked_for_when_the_one_before_it_starts(told: Told) -> None:
    told.hand.add([job(1), job(2), job(3), job(4), *ahead(8, 5, 6), *ahead(9, 7)])
    assert told.asked == []
    assert taken(told, 4) == [1, 2, 3, 4]
    # Until the answer comes, nothing starts, and nothing else is asked.
    assert taken(told, 1) == [None]
    assert not told.hand
    assert told.answer(may_start=True) == 8
    assert told.woken == 1
    assert taken(told, 2) == [5, 6]
    assert told.answer(may_start=True) == 9
    assert taken(told, 2) == [7, None]
    assert (told.asked, told.news()) == ([], [])


def test_where_a_group_may_not_start_all_behind_it_is_given_back(told: Told) -> None:
    told.hand.add([job(1), *ahead(8, 2, 3), *ahead(9, 4)])
    assert told.answer(may_start=False) == 8
    assert told.news() == [("returned", 2), ("returned", 3), ("returned", 4)]
    assert (taken(told, 2), told.asked) == ([1, None], [])
    told.hand.add(ahead(10, 5))
    assert told.answer(may_start=True) == 10
    assert taken(told, 1) == [5]


def test_what_was_claimed_ahead_is_given_back_with_the_rest(told: Told) -> None:
    told.hand.add([job(1), *ahead(8, 2, 3), *ahead(9, 4)])
    told.hand.close()
    assert told.news() == [("returned", 1), ("returned", 2), ("returned", 3), ("returned", 4)]
    # The answer comes too late.
    assert told.answer(may_start=True) == 8
    assert (taken(told, 1), told.news(), told.asked) == ([None], [], [])


def test_a_late_answer_is_not_taken_for_that_of_the_next_group(told: Told) -> None:
    told.hand.add(ahead(8, 1))
    told.hand.give_back()
    told.news()
    told.hand.add(ahead(9, 2))
    assert told.answer(may_start=True) == 8
    assert taken(told, 1) == [None]
    assert told.answer(may_start=True) == 9
    assert taken(told, 1) == [2]
