"""Two or more at once: producers, workers and operators on the same rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.sql.calls import Queue, Row, ids, spec
from tests.support.waiting import wait_until

T = TypeVar("T")


@pytest.fixture
def aside() -> Iterator[Callable[[Callable[[], T]], Future[T]]]:
    """Runs a call in a thread of its own."""
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


def until_it_waits(watcher: Queue, waiting: Queue) -> None:
    """Returns once that connection waits for a lock that somebody holds."""
    pid = waiting.connection.info.backend_pid
    wait_until(
        lambda: watcher.value("select cardinality(pg_blocking_pids(%s)) > 0", [pid]),
        f"backend {pid} to wait for a lock",
    )


def complete_all(queue: Queue, jobs: list[Row], worker: str = "w") -> None:
    """Completes them in the end: producers and others that claim may hold a row for a moment."""
    while jobs:
        outcomes = queue.complete(jobs, worker)
        assert set(outcomes.values()) <= {"busy"}
        jobs = [job for job in jobs if job["id"] in outcomes]


def test_contention_on_one_key_loses_no_request(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[list[Row]]]
) -> None:
    """Eight producers, and a worker that claims and completes what they add, all on one key."""
    rounds, done = 40, threading.Event()
    seen: list[int] = []

    def produce(producer: Queue, number: int) -> list[Row]:
        # Arrays are joined, so each request must be seen exactly once.
        return [producer.add(job_key="k", payload=[number * rounds + n]) for n in range(rounds)]

    def work(worker: Queue) -> list[Row]:
        while not done.is_set():
            jobs = worker.claim()
            complete_all(worker, jobs)
            for job in jobs:
                seen.extend(
                    worker.value(
                        "select array(select json_array_elements_text(%s::json)::int)", [job["payload"]]
                    )
                )
        return []

    worker = aside(work, another())
    producers = [aside(produce, another(), number) for number in range(8)]
    added = [row for producer in producers for row in producer.result()]
    done.set()
    worker.result()
    assert len(added) == 8 * rounds
    assert all(row["id"] is not None and row["key"] == "k" for row in added)
    left = queue.value(
        "select coalesce(array_agg(v::int), '{}') from tidemill._jobs, json_array_elements_text(payload) v"
    )
    assert sorted(seen + left) == list(range(8 * rounds))


@pytest.mark.parametrize("mode", ["replace", "preserve_run_at", "unsafe_dedupe"])
def test_new_tasks_queues_and_keys_are_made_once(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]], mode: str
) -> None:
    start = threading.Barrier(8)

    def produce(producer: Queue) -> Row:
        start.wait()
        return producer.add("new", queue_name="new", job_key="new", job_key_mode=mode)

    rows = [future.result() for future in [aside(produce, another()) for _ in range(8)]]
    assert len(set(ids(rows))) == 1
    assert sorted(row["revision"] for row in rows) == list(range(8))


def test_adding_while_the_job_is_claimed(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]]
) -> None:
    old = queue.add(job_key="k")
    worker, producer = another(), another()
    with worker.connection.transaction():
        (job,) = worker.claim()
        adding = aside(producer.add, job_key="k", payload="new")
        until_it_waits(queue, producer)
    added = adding.result()
    assert (added["id"] != old["id"], added["payload"]) == (True, "new")
    assert queue.kept(old["id"])["withdrawn"] == "replaced"
    assert worker.complete([job]) == {}


def test_adding_while_a_claim_is_undone(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]]
) -> None:
    old = queue.add(job_key="k")
    worker, producer = another(), another()
    with worker.connection.transaction(force_rollback=True):
        worker.claim()
        adding = aside(producer.add, job_key="k")
        until_it_waits(queue, producer)
    assert (adding.result()["id"], adding.result()["revision"]) == (old["id"], 1)


@pytest.mark.parametrize("mode", ["replace", "unsafe_dedupe"])
def test_adding_while_the_job_is_completed(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]], mode: str
) -> None:
    old = queue.add(job_key="k")
    worker, producer = another(), another()
    jobs = worker.claim()
    with worker.connection.transaction():
        worker.complete(jobs)
        adding = aside(producer.add, job_key="k", job_key_mode=mode)
        until_it_waits(queue, producer)
    assert adding.result()["id"] > old["id"]
    assert queue.value("select count(*) from tidemill._jobs") == 1


def test_adding_while_the_job_fails(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]]
) -> None:
    old = queue.add(job_key="k")
    worker, producer = another(), another()
    jobs = worker.claim()
    with worker.connection.transaction():
        worker.fail(jobs)
        adding = aside(producer.add, job_key="k")
        until_it_waits(queue, producer)
    row = adding.result()
    assert (row["id"], row["attempts"], row["last_error"]) == (old["id"], 0, None)


@pytest.mark.parametrize("mode", ["replace", "unsafe_dedupe"])
def test_adding_while_the_key_is_removed(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]], mode: str
) -> None:
    old = queue.add(job_key="k")
    remover, producer = another(), another()
    with remover.connection.transaction():
        remover.remove("k")
        adding = aside(producer.add, job_key="k", job_key_mode=mode)
        until_it_waits(queue, producer)
    assert adding.result()["id"] > old["id"]


def test_removing_waits_for_a_replacement_and_takes_it_too(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[Row]]
) -> None:
    old = queue.add(job_key="k")
    queue.claim()
    producer, remover = another(), another()
    with producer.connection.transaction():
        added = producer.add(job_key="k")
        removing = aside(remover.remove, "k")
        until_it_waits(queue, remover)
    # The row that it waited for has lost the key; the one that has it now is removed.
    assert removing.result()["id"] == added["id"] != old["id"]
    assert queue.stored(added["id"]) is None


def test_bulk_adds_with_keys_in_opposite_order_do_not_deadlock(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[list[Row]]]
) -> None:
    keys = [f"k{n:02}" for n in range(40)]
    start = threading.Barrier(4)

    def produce(producer: Queue, order: list[str]) -> list[Row]:
        rows: list[Row] = []
        start.wait()
        for _ in range(10):
            rows += producer.add_many([spec(job_key=key, queue_name=f"q{key}") for key in order])
        return rows

    orders = [keys, keys[::-1], keys[20:] + keys[:20], keys[::-1]]
    for future in [aside(produce, another(), order) for order in orders]:
        assert all(row["id"] is not None for row in future.result())
    assert queue.value("select sum(revision) from tidemill._jobs") == 40 * (4 * 10 - 1)


def test_a_batch_completes_around_a_job_that_a_producer_holds(
    queue: Queue, another: Callable[[], Queue]
) -> None:
    queue.add(job_key="k")
    queue.add_many([spec() for _ in range(499)])
    jobs = queue.claim(count=500)
    held = next(job for job in jobs if job["key"] == "k")
    producer = another()
    queue.connection.execute("set statement_timeout = '10s'")
    with producer.connection.transaction():
        producer.remove("k")
        assert queue.complete(jobs) == {held["id"]: "busy"}
        assert queue.value("select count(*) from tidemill._jobs") == 1
    assert queue.complete([held]) == {}
    assert queue.value("select count(*) from tidemill._jobs") == 0


@pytest.mark.parametrize(
    "call",
    [
        "select * from tidemill.complete_jobs(array[1, 2])",
        "select * from tidemill.permanently_fail_jobs(array[1, 2])",
        "select * from tidemill.reschedule_jobs(array[1, 2], priority := 1)",
        "select * from tidemill.cancel_jobs(array[1, 2])",
    ],
)
def test_calls_by_id_do_not_wait(queue: Queue, another: Callable[[], Queue], call: str) -> None:
    queue.add(job_key="k")
    queue.add()
    producer = another()
    queue.connection.execute("set statement_timeout = '10s'")
    with producer.connection.transaction():
        producer.add(job_key="k", payload="new")
        assert ids(queue.rows(call)) == [2]
    assert queue.kept(1)["payload"] == "new"


def test_claims_pass_over_what_others_hold(queue: Queue, another: Callable[[], Queue]) -> None:
    for _ in range(2):
        queue.add()
        queue.add(queue_name="p")
        queue.add(queue_name="q")
    other = another()
    with other.connection.transaction():
        taken = other.claim("x", count=1, per_queue=1) + other.claim("x", count=1, queues_first=False)
        rest = queue.claim("w", per_queue=1)
        # One single job is left, and one queue: nobody else runs jobs of the one that is taken.
        assert [job["queue_name"] for job in taken] == ["p", None]
        assert sorted(str(job["queue_name"]) for job in rest) == ["None", "q"]
    assert not set(ids(taken)) & set(ids(rest))


def test_many_workers_claim_each_job_once(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[list[int]]]
) -> None:
    queue.add_many([spec(priority=n % 3, queue_name=f"q{n % 20}" if n % 2 else None) for n in range(2000)])
    start = threading.Barrier(4)

    def work(worker: Queue, name: str) -> list[int]:
        claimed: list[int] = []
        start.wait()
        while worker.value("select count(*) from tidemill._jobs where locked_at is null"):
            jobs = worker.claim(name, count=7, per_queue=3)
            claimed += ids(jobs)
            complete_all(worker, jobs, name)
            held = {(job["queue_id"], job["claim_token"]) for job in jobs if job["queue_id"]}
            worker.rows(
                "select from tidemill._release_queues(%s, %s::bigint[], %s::bigint[])",
                [name, [number for number, _ in held], [token for _, token in held]],
            )
        return claimed

    workers = [aside(work, another(), f"w{number}") for number in range(4)]
    claimed = [job for worker in workers for job in worker.result()]
    assert sorted(claimed) == list(range(1, 2001))
    assert queue.value("select count(*) from tidemill._queues where locked_by is not null") == 0


def test_cancelling_a_job_that_ends_meanwhile(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.add()
    (job,) = queue.claim()
    worker = another()
    with worker.connection.transaction():
        worker.fail([job])
        # Held: passed over, and said by its absence.
        assert queue.rows("select * from tidemill.cancel_jobs(array[1])") == []
    (row,) = queue.rows("select * from tidemill.cancel_jobs(array[1])")
    assert row["state"] == "failed"
