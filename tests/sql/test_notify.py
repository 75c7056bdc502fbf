"""Wake-ups: sent when somebody has declared that it listens, and only then."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sql.calls import Queue, spec

CHANNEL = "tidemill:jobs"


@pytest.fixture
def listening(another: Callable[[], Queue]) -> Queue:
    queue = another()
    queue.connection.execute(f'listen "{CHANNEL}"'.encode())
    return queue


def declare(queue: Queue) -> None:
    queue.connection.execute("insert into tidemill._listeners values ('w')")


def told(listening: Queue) -> list[list[int]]:
    """The payloads so far, as numbers; a notification of our own marks the end."""
    listening.connection.execute(f"""notify "{CHANNEL}", 'end'""".encode())
    payloads = []
    for notification in listening.connection.notifies(timeout=10):
        if notification.payload == "end":
            break
        payloads.append([int(part) for part in notification.payload.split()])
    return payloads


def heard(listening: Queue) -> list[int]:
    """In how many milliseconds a job is due, of each payload so far."""
    return [milliseconds for milliseconds, *_ in told(listening)]


def test_nobody_is_told_when_nobody_has_declared(queue: Queue, listening: Queue) -> None:
    queue.add()
    queue.add(job_key="k")
    queue.add_many([spec(), spec(job_key="l")])
    queue.rows("select * from tidemill.reschedule_jobs(array[1], priority := 1)")
    queue.give_back(queue.claim())
    assert heard(listening) == []


def test_jobs_that_are_due(queue: Queue, listening: Queue) -> None:
    declare(queue)
    queue.add()
    queue.add(job_key="k")
    queue.add(run_at="2020-01-01")
    queue.add_many([spec(), spec(run_at="2040-01-01")])
    queue.add_many([spec(job_key="l")])
    assert heard(listening) == [0] * 5


def test_the_payload_is_the_wait_in_milliseconds(queue: Queue, listening: Queue) -> None:
    declare(queue)
    queue.rows("select from tidemill.add_job('t', run_at := clock_timestamp() + interval '10 minutes')")
    queue.rows(
        "select from tidemill.add_jobs(array(select row('t', null, null,"
        " clock_timestamp() + n * interval '10 minutes', null, null, null, null)::tidemill.job_spec"
        " from generate_series(3, 1, -1) n))"
    )
    waits = heard(listening)
    assert len(waits) == 2
    for wait in waits:
        assert 590_000 < wait <= 600_000


def test_what_is_due_in_more_than_an_hour_is_left_to_polls(queue: Queue, listening: Queue) -> None:
    declare(queue)
    queue.rows("select from tidemill.add_job('t', run_at := now() + interval '61 minutes')")
    queue.rows("select from tidemill.add_job('t', run_at := 'infinity')")
    assert heard(listening) == []


def test_it_is_told_at_commit(queue: Queue, listening: Queue) -> None:
    declare(queue)
    with queue.connection.transaction():
        queue.add()
        assert heard(listening) == []
    assert heard(listening) == [0]
    with queue.connection.transaction(force_rollback=True):
        queue.add()
    assert heard(listening) == []


def test_a_transaction_of_many_adds_tells_once(queue: Queue, listening: Queue) -> None:
    declare(queue)
    with queue.connection.transaction():
        for _ in range(20):
            queue.add()
    assert heard(listening) == [0]


def test_nothing_added_tells_nobody(queue: Queue, listening: Queue) -> None:
    declare(queue)
    queue.add_many([])
    queue.rows("select * from tidemill.reschedule_jobs(array[999])")
    assert heard(listening) == []


def test_jobs_that_become_free_are_told_of(queue: Queue, listening: Queue) -> None:
    queue.add()
    jobs = queue.claim()
    declare(queue)
    queue.give_back(jobs)
    assert heard(listening) == [0]
    queue.claim()
    queue.rows("select tidemill.force_unlock_workers('{w}')")
    assert heard(listening) == [0]
    queue.claim()
    queue.rows("select tidemill._return_unknown_jobs('w', '{}')")
    assert heard(listening) == [0]
    queue.rows("select * from tidemill.reschedule_jobs(array[1], run_at := now())")
    assert heard(listening) == [0]
    queue.register()
    queue.claim()
    queue.expire()
    queue.rows("select * from tidemill._sweep_leases()")
    assert heard(listening) == [0]


# Where in the order of claims a worker has to begin

JULY = 1_751_328_000_000_000
"""2025-07-01 in microseconds since 1970."""


def test_the_place_of_plain_jobs(queue: Queue, listening: Queue) -> None:
    declare(queue)
    queue.add(run_at="2025-07-01Z", priority=-3)
    queue.add(run_at="2025-07-01Z", job_key="k")
    queue.add_many([spec(run_at="2025-07-02Z", priority=7), spec(run_at="2025-07-01Z", priority=7)])
    queue.add_many([spec("t", run_at="2025-07-01Z"), spec("another")])
    # A time that a worker could not hold.
    queue.rows("select from tidemill.add_job('t', run_at := '0090-07-01Z BC')")
    assert told(listening) == [[0, -3, JULY, 0], [0, 0, JULY, 0], [0, 7, JULY, 0], [0, 0, JULY, 0], [0]]


def test_the_place_is_not_told_where_it_is_not_known(queue: Queue, listening: Queue) -> None:
    declare(queue)
    queue.add(queue_name="q")
    queue.rows("select from tidemill.add_job('t', run_at := '-infinity')")
    queue.add_many([spec(), spec(queue_name="q")])
    queue.add_many([spec(priority=1), spec(priority=2)])
    queue.add_many([spec(job_key="k")])
    assert told(listening) == [[0]] * 5


def test_no_new_job_comes_before_the_place(queue: Queue, listening: Queue) -> None:
    declare(queue)
    with queue.connection.transaction():
        ids = [queue.add(priority=2)["id"] for _ in range(3)]
    ((_, priority, microseconds, job_id),) = told(listening)
    assert queue.value(
        "select bool_and((priority, run_at, id) >= (%s, timestamptz 'epoch' + %s * interval '1 us', %s))"
        " from tidemill._jobs where id = any(%s)",
        [priority, microseconds, job_id, ids],
    )


@pytest.mark.parametrize("queue_name", [None, "q"], ids=["job", "queue"])
def test_what_a_sweep_frees_wakes_workers(queue: Queue, listening: Queue, queue_name: str | None) -> None:
    queue.register("dead")
    queue.add(queue_name=queue_name)
    claimed = queue.claim("dead")
    if queue_name is not None:
        # Its jobs have ended, and further ones wait for the queue.
        queue.complete(claimed, "dead")
        queue.add(queue_name=queue_name)
    queue.register("w")
    declare(queue)
    queue.expire("dead")
    queue.rows("select * from tidemill._sweep_leases()")
    assert heard(listening) == [0]
    assert len(queue.claim()) == 1
