"""Batches, between the engine's thread and the event loop."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from tests.queue.jobs import job, kind
from tidemill.queue.batch import Batch, Closed
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.settlement import FreedQueue, Settlement

TOKEN = 77


class Told:
    """What a batch tells others."""

    def __init__(self) -> None:
        self.settled: list[Settlement | FreedQueue] = []
        self.over = 0

    def batch(self, *jobs: ClaimedJob) -> Batch:
        return Batch(TOKEN, list(jobs), self.settled.append, self._on_over)

    def _on_over(self) -> None:
        self.over += 1

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(kind(one), one.id) for one in self.settled]


@pytest.fixture
def told() -> Told:
    return Told()


def failed(one: ClaimedJob) -> Settlement:
    return Settlement("failed", one.id, one.token, one.identifier, message="boom")


def returned(one: ClaimedJob) -> Settlement:
    return Settlement("returned", one.id, one.token, one.identifier)


def started(closed: Closed) -> list[int]:
    return [one.id for one in closed.started]


def take(batch: Batch) -> ClaimedJob:
    taken = batch.take()
    assert taken is not None
    return taken


def test_a_batch_that_runs_to_its_end(told: Told) -> None:
    batch = told.batch(*map(job, range(3)))
    assert (batch.size, batch.ended, batch.is_over, batch.has_waiting) == (3, 0, False, True)
    running: ClaimedJob | None = take(batch)
    ran = []
    while running is not None:
        assert running.token == TOKEN
        ran.append(running.id)
        running = batch.done(running)
    assert ran == [0, 1, 2]
    assert batch.take() is None
    assert (batch.ended, batch.is_over, batch.has_waiting, told.over) == (3, True, False, 1)
    closed = batch.close()
    assert closed == Closed(done=[0, 1, 2], kept=[], started=[], queues=[], failed=[], unstarted=[])
    assert told.settled == []


def test_what_is_left_when_it_is_closed(told: Told) -> None:
    batch = told.batch(*map(job, range(5)))
    done, running, broken, given_back = (take(batch) for _ in range(4))
    next_one = batch.done(done)
    assert next_one is not None
    assert next_one.id == 4
    batch.end(broken, failed(broken))
    batch.end(given_back, returned(given_back))
    assert batch.ended == 3
    closed = batch.close()
    assert closed.done == [0]
    # A failed job is leased too, so that its failure is written like any other; a returned one is not.
    assert sorted(started(closed)) == [1, 2, 4]
    assert closed.failed == [failed(broken)]
    assert closed.unstarted == []
    assert told.over == 0
    assert told.settled == []
    # From now on they end as leased ones.
    assert batch.done(running) is None
    batch.end(next_one, failed(next_one))
    assert batch.next(next_one) is None
    assert told.settled == [Settlement("done", 1, TOKEN, "t"), failed(next_one)]


def test_a_closed_batch_starts_nothing(told: Told) -> None:
    batch = told.batch(*map(job, range(3)))
    first = take(batch)
    closed = batch.close()
    assert [one.id for one in closed.unstarted] == [1, 2]
    assert not batch.has_waiting
    assert batch.take() is None
    assert batch.done(first) is None
    assert told.kinds == [("done", 0)]


def test_jobs_of_a_queue_run_one_after_the_other(told: Told) -> None:
    batch = told.batch(job(1, 9, then=job(2, 9, then=job(3, 9))), job(4))
    assert batch.size == 4
    head, single = take(batch), take(batch)
    assert (head.id, single.id) == (1, 4)
    assert batch.take() is None
    second = batch.done(head)
    assert second is not None
    assert (second.id, second.token) == (2, TOKEN)
    # Its failure does not stop those behind it.
    batch.end(second, failed(second))
    third = batch.next(second)
    assert third is not None
    assert third.id == 3
    assert batch.next(single) is None
    batch.done(single)
    assert told.over == 0
    batch.done(third)
    assert told.over == 1
    closed = batch.close()
    assert (sorted(closed.done), started(closed), closed.queues) == ([1, 3, 4], [2], [])


def test_a_queue_whose_job_goes_on_is_leased_until_it_ends(told: Told) -> None:
    batch = told.batch(job(1, 9, then=job(2, 9)), job(3, 8), job(4, 7))
    going, ended = take(batch), take(batch)
    batch.done(ended)
    closed = batch.close()
    assert 9 in closed.queues
    assert 8 not in closed.queues
    assert batch.done(going) is None
    # The job behind it was never leased, so it is not returned either.
    assert told.kinds == [("done", 1), ("queue", 9)]


def test_a_job_that_failed_before_the_end_holds_no_queue(told: Told) -> None:
    batch = told.batch(job(1, 9))
    broken = take(batch)
    batch.end(broken, failed(broken))
    closed = batch.close()
    assert (started(closed), closed.queues) == ([1], [])


def test_a_queue_that_is_given_back_is_given_back_as_a_whole(told: Told) -> None:
    batch = told.batch(job(1, 9, then=job(2, 9, then=job(3, 9))))
    head = take(batch)
    batch.end(head, returned(head))
    assert batch.next(head) is None
    assert (batch.is_over, told.over) == (True, 1)
    closed = batch.close()
    assert (closed.done, closed.started, closed.queues) == ([], [], [])


def test_a_failure_and_the_release_of_its_queue_after_the_end(told: Told) -> None:
    batch = told.batch(job(1, 9, then=job(2, 9)))
    broken = take(batch)
    batch.close()
    batch.end(broken, failed(broken))
    assert batch.next(broken) is None
    assert told.kinds == [("failed", 1), ("queue", 9)]


def test_a_queue_between_a_failure_and_the_next_job(told: Told) -> None:
    """Closed just then, the queue is not leased, so that releasing it must do no harm."""
    batch = told.batch(job(1, 9, then=job(2, 9)))
    broken = take(batch)
    batch.end(broken, failed(broken))
    closed = batch.close()
    assert closed.queues == []
    assert batch.next(broken) is None
    # With this batch's token, which no lease of the queue has.
    assert [(kind(one), one.token) for one in told.settled] in ([], [("queue", TOKEN)])


@pytest.mark.parametrize("turn", range(30))
def test_threads_that_race_for_the_end_lose_and_repeat_nothing(told: Told, turn: int) -> None:
    singles = [job(number) for number in range(300)]
    queues = [
        job(
            1000 + 10 * number,
            number,
            then=job(1001 + 10 * number, number, then=job(1002 + 10 * number, number)),
        )
        for number in range(30)
    ]
    batch = told.batch(*singles, *queues)
    assert batch.size == 390
    start = threading.Barrier(4)
    ran: list[list[int]] = [[], [], []]
    broken: set[int] = set()

    def work(mine: list[int]) -> None:
        start.wait()
        running = batch.take()
        while running is not None:
            mine.append(running.id)
            if running.id % 7 == 0:
                broken.add(running.id)
                batch.end(running, failed(running))
                running = batch.next(running) or batch.take()
            else:
                running = batch.done(running) or batch.take()

    threads = [threading.Thread(target=work, args=[mine]) for mine in ran]
    for thread in threads:
        thread.start()
    start.wait()
    while batch.ended < turn * 13 and not batch.is_over:
        pass
    closed = batch.close()
    for thread in threads:
        thread.join()

    began = Counter(number for mine in ran for number in mine)
    assert set(began.values()) <= {1}
    # Each job that began was deleted with its batch, or leased then; and each of these ended once.
    assert not set(closed.done) & set(started(closed))
    assert sorted([*closed.done, *started(closed)]) == sorted(began)
    before = Counter(settlement.id for settlement in closed.failed)
    after = Counter(one.id for one in told.settled if kind(one) != "queue")
    assert before + after == Counter(started(closed))
    assert {one.id for one in [*closed.failed, *told.settled] if kind(one) == "failed"} == broken
    assert not broken & set(closed.done)
    # A queue that was leased is released once; and what was not begun is all the rest.
    released = Counter(one.id for one in told.settled if kind(one) == "queue")
    assert set(released.values()) <= {1}
    assert set(closed.queues) <= set(released)
    assert not {one.id for one in closed.unstarted} & set(began)
    assert told.over == (1 if batch.is_over else 0)


def test_a_stopped_batch_starts_nothing_more(told: Told) -> None:
    batch = told.batch(job(1), job(2, 9, then=job(3, 9)), job(4))
    first, queued = take(batch), take(batch)
    batch.stop()
    assert batch.done(first) is None
    assert batch.done(queued) is None
    assert batch.take() is None
    closed = batch.close()
    assert sorted(closed.done) == [1, 2]
    assert closed.started == []
    assert [one.id for one in closed.unstarted] == [4]
