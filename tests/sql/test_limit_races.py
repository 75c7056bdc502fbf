"""Claims at once, under limits that all of them have to keep."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import pytest

from tests.sql.calls import Queue, Row, ids, refused, spec
from tests.sql.limited import age, claim, declare, limit, walk

pytestmark = pytest.mark.slow

CLAIMERS = 4
ROUNDS = 150
# So that each claimer, who takes three, has a visit of each gate.
VISIT_ALL: LiteralString = """
    insert into tidemill._visits
      select 1, now() - make_interval(secs => 1.0 / n), g.gate_id
      from generate_series(1, 4) n, (select distinct gate_id from tidemill._jobs) g
"""


def test_claims_at_the_same_moment_never_exceed_a_limit(queue: Queue, another: Callable[[], Queue]) -> None:
    """In each round all claim at once, at gates that each of them has a visit of."""
    queue.rows("select tidemill.set_limit('l', concurrency => 1, per => 'c')")
    payloads = [{"c": n % 3} for n in range(3 * ROUNDS)]
    for task in ("t", "u"):
        queue.add_many([spec(task, payload=p) for p in payloads], limit_names=["l"] * len(payloads))
    barrier = threading.Barrier(CLAIMERS + 1, timeout=30)

    def work(claimer: Queue, name: str) -> int:
        taken = 0
        for _ in range(ROUNDS):
            barrier.wait()
            held = claim(claimer, name, tasks=["t", "u"], most_visits=3)
            barrier.wait()
            # All have claimed, and the leases are counted.
            barrier.wait()
            claimer.complete(held, name)
            taken += len(held)
        return taken

    most = Counter[int]()
    with ThreadPoolExecutor(CLAIMERS) as pool:
        workers = [pool.submit(work, another(), f"w{n}") for n in range(CLAIMERS)]
        for _ in range(ROUNDS):
            queue.connection.execute(VISIT_ALL)
            barrier.wait()
            barrier.wait()
            leased = queue.rows(
                "select gate_id, count(*) from tidemill._jobs where locked_at is not null group by 1"
            )
            most.update(row["count"] for row in leased)
            barrier.wait()
        taken = sum(worker.result() for worker in workers)
    assert set(most) == {1}
    assert taken == most.total() > ROUNDS


def test_many_claimers_take_each_job_once_and_forget_none(queue: Queue, another: Callable[[], Queue]) -> None:
    """Producers with open transactions, tasks that only some claimers know, and no walk before the end."""
    queue.rows("select tidemill.set_limit('l', concurrency => 2, per => 'c')")
    lock, running, most = threading.Lock(), Counter[str](), Counter[str]()
    done: list[int] = []
    jobs = 300

    def produce(producer: Queue) -> None:
        for n in range(jobs // 6):
            with producer.connection.transaction():
                for task in ("t", "u"):
                    producer.add(task, limit_name="l", payload={"c": n % 7})

    def work(claimer: Queue, name: str, tasks: list[str]) -> None:
        deadline = time.monotonic() + 60
        while len(done) < jobs and time.monotonic() < deadline:
            held: list[Row] = claim(claimer, name, tasks=tasks, count=3)
            with lock:
                running.update(job["payload"] for job in held)
                most.update({key: max(0, count - most[key]) for key, count in running.items()})
            claimer.rows("select pg_sleep(0.001)")
            with lock:
                running.subtract(job["payload"] for job in held)
            assert claimer.complete(held, name) == {}
            done.extend(ids(held))
            if not held:
                # What an end did not tell the other task, since it came at once with an add, the walk finds.
                walk(claimer, tasks)

    with ThreadPoolExecutor(8) as pool:
        every = [pool.submit(produce, another()) for _ in range(3)]
        for n, tasks in enumerate((["t", "u"], ["t"], ["u"], ["t", "u"])):
            every.append(pool.submit(work, another(), f"w{n}", tasks))
        for future in every:
            future.result()
    assert sorted(done) == list(range(1, jobs + 1))
    assert max(most.values()) == 2
    assert queue.rows("select from tidemill._jobs") == []


def test_a_claim_does_not_wait_long_for_a_gate_that_another_makes(
    queue: Queue, another: Callable[[], Queue]
) -> None:
    queue.rows("select tidemill.set_limit('l', concurrency => 5)")
    for task in ("t", "u"):
        queue.add(task, limit_name="l")
    other = another()
    with other.connection.transaction():
        assert len(claim(other, "x")) == 1
        assert claim(queue, tasks=["u"]) == []
    age(queue, 1)
    assert len(claim(queue, tasks=["u"])) == 1


def test_a_declaration_waits_for_no_open_transaction_and_names_it(
    queue: Queue, another: Callable[[], Queue]
) -> None:
    limit(queue, concurrency=5)
    producer, operator = another(), another()
    pid = producer.connection.info.backend_pid
    wanted: dict[str, Any] = {"t": {"concurrency": 1}, "u": {"name": "l"}, "v": {"concurrency": 2}, "w": None}
    with producer.connection.transaction():
        producer.add("t")
        producer.add("u", limit_name="l")
        first = {row["identifier"]: row for row in declare(queue, **wanted)}
        assert [(name, first[name]["becomes"]) for name in first] == [
            ("t", None),
            ("u", None),
            ("v", "2 at once"),
        ]
        assert all(f"Server process {pid} holds it" in first[name]["waits_for"] for name in "tu")
    with operator.connection.transaction():
        limit(operator, "m", concurrency=1)
        assert [row["waits_for"] is None for row in declare(queue, **wanted)] == [False, False]
    assert [row["becomes"] for row in declare(queue, **wanted)] == ["1 at once", 'the limit "l", 5 at once']
    assert declare(queue, **wanted) == []


def test_a_claim_that_cannot_count_is_refused(queue: Queue) -> None:
    with queue.connection.transaction():
        queue.connection.execute("set transaction isolation level repeatable read")
        with refused("25000", "repeatable read", "read committed"):
            claim(queue)


def test_a_claim_passes_over_gates_that_another_holds(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.rows("select tidemill.set_limit('l', concurrency => 5, per => 'c')")
    for n in (1, 1, 2):
        queue.add(limit_name="l", payload={"c": n})
    # Now the gates have rows.
    queue.give_back(claim(queue))
    other = another()
    queue.connection.execute("set statement_timeout = '10s'")
    with other.connection.transaction():
        assert len(claim(other, "x", count=1)) == 1
        queue.connection.execute(VISIT_ALL)
        assert claim(queue) == []
    age(queue, 1)
    assert len(claim(queue)) == 2
