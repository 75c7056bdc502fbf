"""Two or more at once: producers, workers and operators on the same rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import LiteralString, TypeVar

import pytest
from psycopg import sql

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


@pytest.mark.parametrize("express", [False, True], ids=["lease", "express"])
def test_claims_pass_over_what_others_hold(queue: Queue, another: Callable[[], Queue], express: bool) -> None:
    claim = partial(Queue.claim, express=express, quick=["t"] if express else [])
    for _ in range(2):
        queue.add()
        queue.add(queue_name="p")
        queue.add(queue_name="q")
    other = another()
    with other.connection.transaction():
        taken = claim(other, "x", count=1, per_queue=1) + claim(other, "x", count=1, queues_first=False)
        rest = claim(queue, "w", per_queue=1)
        # One single job and one queue are left: the taken queue's jobs run nowhere else.
        assert [job["queue_name"] for job in taken] == ["p", None]
        assert sorted(str(job["queue_name"]) for job in rest) == ["None", "q"]
    assert not set(ids(taken)) & set(ids(rest))


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [[False], [True], [True, False]], ids=["lease", "express", "both"])
def test_many_workers_claim_each_job_once(
    queue: Queue,
    another: Callable[[], Queue],
    aside: Callable[..., Future[list[list[int]]]],
    lanes: list[bool],
) -> None:
    keyed = len(lanes) == 2
    queue.add_many(
        [
            spec(
                priority=n % 3,
                queue_name=f"q{n % 20}" if n % 2 else None,
                job_key=f"k{n}" if keyed and n % 7 == 0 else None,
            )
            for n in range(2000)
        ]
    )
    order = queue.rows("select id, queue_id from tidemill._jobs order by priority, run_at, id")
    start = threading.Barrier(4)

    def work(worker: Queue, name: str) -> list[list[int]]:
        claims: list[list[int]] = []
        start.wait()
        while worker.value("select count(*) from tidemill._jobs where locked_at is null"):
            for express in lanes:
                quick = ["t"] if lanes != [False] else []
                with worker.connection.transaction():
                    jobs = worker.claim(name, express=express, quick=quick, count=7, per_queue=3)
                    claims.append(ids(jobs))
                    if express:
                        worker.close_batch(done=jobs)
                if not express:
                    complete_all(worker, jobs, name)
                    worker.release(jobs, name)
        return claims

    workers = [aside(work, another(), f"w{number}") for number in range(4)]
    claims = [claim for worker in workers for claim in worker.result()]
    claimed = [job for claim in claims for job in claim]
    assert sorted(claimed) == list(range(1, 2001))
    assert queue.value("select count(*) from tidemill._queues where locked_by is not null") == 0
    # What was claimed together of one queue had no gap.
    for queue_id in {row["queue_id"] for row in order} - {None}:
        place = {row["id"]: n for n, row in enumerate(r for r in order if r["queue_id"] == queue_id)}
        for claim in claims:
            places = sorted(place[job] for job in claim if job in place)
            assert not places or places[-1] - places[0] == len(places) - 1


def test_cancelling_a_job_that_ends_meanwhile(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.add()
    (job,) = queue.claim()
    worker = another()
    with worker.connection.transaction():
        worker.fail([job])
        # Held: passed over, and said by its absence.
        assert queue.rows("select * from tidemill.cancel_jobs(array[1])") == []
    (row,) = queue.rows("select * from tidemill.cancel_jobs(array[1])")
    assert row["state"] == "cancelled"


# Express batches, whose locks are invisible to others


@pytest.fixture
def open_batch(queue: Queue, another: Callable[[], Queue]) -> Iterator[list[Row]]:
    """Two single jobs and two of a named queue, locked by somebody's open transaction."""
    queue.add(flags=["f"])
    queue.add()
    queue.add(queue_name="q")
    queue.add(queue_name="q")
    batch = another()
    with batch.connection.transaction():
        locked = batch.claim(express=True, quick=["t"])
        assert ids(locked) == [1, 2, 3, 4]
        queue.connection.execute("set statement_timeout = '10s'")
        yield locked
        batch.close_batch(done=locked)
    assert queue.rows("select from tidemill._jobs where id <= 4") == []


@pytest.mark.usefixtures("open_batch")
@pytest.mark.parametrize("mode", ["replace", "preserve_run_at", "unsafe_dedupe"])
def test_producers_never_wait_for_a_batch(queue: Queue, mode: str) -> None:
    for _ in range(2):
        # Into the same task and named queue, too, and while others claim.
        queue.add(queue_name="q")
        queue.add("new", queue_name="new")
        queue.add(job_key="k", queue_name="q", job_key_mode=mode)
        queue.add_many([spec(), spec(queue_name="q"), spec(job_key="l", queue_name="q")])
    assert queue.remove("k")["id"] is not None
    assert queue.remove("nobody's")["id"] is None


@pytest.mark.usefixtures("open_batch")
@pytest.mark.parametrize(
    "call",
    [
        "select * from tidemill.complete_jobs(array[1, 3, 5])",
        "select * from tidemill.permanently_fail_jobs(array[1, 3, 5])",
        "select * from tidemill.reschedule_jobs(array[1, 3, 5], priority := 1)",
        "select * from tidemill.cancel_jobs(array[1, 3, 5])",
    ],
)
def test_calls_by_id_pass_over_a_batch(queue: Queue, call: str) -> None:
    free = queue.add()
    assert ids(queue.rows(call)) == [free["id"]]


@pytest.mark.usefixtures("open_batch")
def test_sweeps_and_claims_pass_over_a_batch(queue: Queue) -> None:
    queue.register("w")
    queue.expire("w")
    queue.rows("select * from tidemill._sweep_leases()")
    queue.rows("select tidemill.force_unlock_workers(array['w'])")
    assert queue.claim("x") == []


def test_a_keyed_job_is_never_locked_by_a_batch(queue: Queue, another: Callable[[], Queue]) -> None:
    keyed = [queue.add(job_key="k"), queue.add(job_key="l", queue_name="q")]
    queue.add()
    queue.add(queue_name="q")
    batch = another()
    queue.connection.execute("set statement_timeout = '10s'")
    with batch.connection.transaction():
        assert len(batch.claim(express=True, quick=["t"])) == 1
        changed = [queue.add(job_key="k", payload=1), queue.add(job_key="l", payload=1, queue_name="q")]
        assert ids(changed) == ids(keyed)
        assert [row["revision"] for row in changed] == [1, 1]


HELD_UP: LiteralString = (
    "select * from tidemill._held_up(array['t'], array['t'], %s, 5, array['heavy'], 0, 5)"
)


@pytest.fixture
def held_up(queue: Queue) -> Iterator[None]:
    """Makes _held_up: _lock_queued_jobs, which waits for lock 7 before it locks the queue. We hold that."""
    body = queue.value("select prosrc from pg_proc where proname = '_lock_queued_jobs'")
    before = "where q.id = h.queue_id"
    assert body.count(before) == 1
    body = body.replace(before, f"where (select pg_advisory_lock_shared(7)) is not null and {before[6:]}")
    queue.connection.execute(
        sql.SQL(
            "create function tidemill._held_up(identifiers text[], quick text[], express boolean,"
            " max_jobs integer, forbidden_flags text[], after_queue bigint, per_queue integer,"
            " after_run_at timestamptz default null, after_id bigint default 0,"
            " later_first boolean default false, most_looks integer default null)"
            " returns setof tidemill._claimed_job language plpgsql as {}"
        ).format(sql.Literal(body))
    )
    queue.connection.execute("select pg_advisory_lock(7)")
    yield
    queue.connection.execute("select pg_advisory_unlock_all()")


@pytest.mark.usefixtures("held_up")
def test_a_queue_that_went_on_between_a_claims_look_and_its_lock(
    queue: Queue, another: Callable[[], Queue], aside: Callable[..., Future[list[Row]]]
) -> None:
    """Its head has ended meanwhile, so its next job is another one than was looked at."""
    head = queue.add(queue_name="q")
    queue.add(queue_name="q", job_key="k")
    queue.add(queue_name="q")
    batch, late = another(), another()
    with batch.connection.transaction():
        locked = batch.claim(express=True, quick=["t"])
        assert ids(locked) == [head["id"]]
        claim = aside(late.rows, HELD_UP, [True])
        until_it_waits(queue, late)
        batch.close_batch(done=locked)
    queue.connection.execute("select pg_advisory_unlock(7)")
    assert claim.result() == []


@pytest.mark.usefixtures("held_up")
@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ("queue_id = 2", False),
        ("queue_id = null", False),
        ("locked_at = now()", False),
        ("attempts = max_attempts", False),
        ("run_at = now() + interval '1 hour'", False),
        ("task_id = 2", False),
        ("key = null", False),
        ("flags = '{heavy}'", False),
        ("flags = '{light}', priority = -1", True),
    ],
)
def test_a_job_that_changed_between_a_claims_look_and_its_lock(
    queue: Queue,
    another: Callable[[], Queue],
    aside: Callable[..., Future[list[Row]]],
    change: LiteralString,
    stays: bool,
) -> None:
    job = queue.add(queue_name="q", job_key="k")
    queue.add("other", queue_name="r")
    late = another()
    claim = aside(late.rows, HELD_UP, [False])
    until_it_waits(queue, late)
    queue.connection.execute(f"update tidemill._jobs set {change} where id = {job['id']}".encode())
    queue.connection.execute("select pg_advisory_unlock(7)")
    assert ids(claim.result()) == ([job["id"]] if stays else [])
