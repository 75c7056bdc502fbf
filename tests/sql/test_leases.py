"""Workers, their heartbeats, and what happens to the leases of those that die."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.sql.calls import Queue, Row, ids
from tests.support.waiting import wait_until


def sweep(queue: Queue) -> list[tuple[str, int, bool]]:
    rows = queue.rows("select * from tidemill._sweep_leases()")
    return sorted((row["worker_id"], row["id"], row["failed"]) for row in rows)


def leased(queue: Queue, worker: str = "w") -> list[Row]:
    """One job of a named queue and a single one, held by the worker."""
    queue.add(queue_name=f"q{worker}")
    queue.add()
    claimed = queue.claim(worker)
    assert len(claimed) == 2
    return claimed


def holders(queue: Queue) -> tuple[list[str | None] | None, list[str | None]]:
    return (
        queue.value("select array_agg(locked_by order by id) from tidemill._jobs"),
        queue.value("select array_agg(locked_by order by id) from tidemill._queues"),
    )


def worker(queue: Queue, name: str = "w") -> Row | None:
    rows = queue.rows("select * from tidemill.workers where id = %s", [name])
    return rows[0] if rows else None


def is_lost(queue: Queue, name: str = "w") -> bool:
    """Whether the worker is on the list of those that were lost lately."""
    row = worker(queue, name)
    assert row is not None
    return bool(row["state"] == "lost")


def is_forgotten(queue: Queue, name: str = "w") -> bool:
    """Whether the worker goes from the list when the time of caution is over."""
    queue.connection.execute("update tidemill._workers set lost_at = lost_at - tidemill._caution()")
    assert sweep(queue) == []
    return worker(queue, name) is None


def test_registration(queue: Queue) -> None:
    queue.rows("select tidemill._register_worker('w', 'host', 7, '1.2', 4, '{b,a,b}', interval '30 seconds')")
    # A name that no job has needs no number, and waits for no producer that makes one.
    assert queue.rows("select from tidemill._tasks") == []
    row = worker(queue)
    assert row is not None
    assert (row["hostname"], row["pid"], row["version"], row["concurrency"]) == ("host", 7, "1.2", 4)
    assert (row["state"], row["tasks"], row["in_hand"]) == ("running", ["a", "b"], 0)
    assert 29 < (row["expires_at"] - row["heartbeat_at"]).total_seconds() <= 31


def test_registering_again_keeps_one_row(queue: Queue) -> None:
    queue.register(tasks=["a"], lease="1 second")
    queue.register(tasks=["b"], lease="1 hour")
    row = worker(queue)
    assert row is not None
    assert row["tasks"] == ["b"]
    assert (row["expires_at"] - row["heartbeat_at"]).total_seconds() > 3000


def test_has_worker(queue: Queue) -> None:
    queue.add("t")
    queue.add("other")
    queue.register()
    seen = "select array_agg(has_worker order by id) from tidemill.jobs"
    assert queue.value(seen) == [True, False]
    queue.expire()
    assert queue.value(seen) == [False, False]


def test_a_heartbeat_moves_the_deadline(queue: Queue) -> None:
    queue.register(lease="1 second")
    before = worker(queue)
    beat = queue.row("select * from tidemill._heartbeat('w', '1 hour', 17, true)")
    assert beat == {"alive": True, "cancelled": None}
    after = worker(queue)
    assert before is not None
    assert after is not None
    assert (after["in_hand"], after["state"]) == (17, "stopping")
    assert after["heartbeat_at"] > before["heartbeat_at"]
    assert after["expires_at"] > before["expires_at"]


def test_a_heartbeat_comes_back_through_listen(queue: Queue, another: Callable[[], Queue]) -> None:
    listening = another()
    listening.connection.execute('listen "tidemill:ping"')
    queue.row("select * from tidemill._heartbeat('w', '1 hour', 0, false)")
    (heard,) = listening.connection.notifies(timeout=10, stop_after=1)
    assert heard.payload == "w"


def test_a_heartbeat_without_a_row_says_so(queue: Queue) -> None:
    assert queue.row("select * from tidemill._heartbeat('w', '1 hour', 0, false)")["alive"] is False
    assert worker(queue) is None


def test_a_heartbeat_tells_of_cancelled_jobs_of_its_own(queue: Queue) -> None:
    mine, others = leased(queue), leased(queue, "x")
    for job in (mine[0], others[0]):
        queue.rows("select * from tidemill.cancel_jobs(%s)", [[job["id"]]])
    assert queue.row("select * from tidemill._heartbeat('w', '1 hour', 0, false)")["cancelled"] == [
        mine[0]["id"]
    ]


def test_the_sweep_frees_what_dead_workers_hold(queue: Queue) -> None:
    for name in ("w", "x", "y"):
        queue.register(name)
    dead, _, dead_too = leased(queue, "w"), leased(queue, "x"), leased(queue, "y")
    queue.expire("w")
    queue.expire("y")
    before = queue.rows("select * from tidemill._jobs order by id")
    assert sweep(queue) == [("w", job, False) for job in ids(dead)] + [
        ("y", job, False) for job in ids(dead_too)
    ]
    assert holders(queue) == ([None, None, "x", "x", None, None], [None, "x", None])
    after = queue.rows("select * from tidemill._jobs order by id")
    for old, new in zip(before, after, strict=True):
        if old["locked_by"] == "x":
            assert new == old
        else:
            # The attempt stays spent. The job goes behind those that were due before, but not in its queue.
            free = {"locked_at": None, "locked_by": None, "claim_token": None, "slot": old["run_at"]}
            times = {name: new[name] for name in ("run_at", "updated_at")}
            assert new == old | free | times
            assert (times["run_at"] > old["run_at"]) == (old["queue_id"] is None)
            assert times["updated_at"] > old["updated_at"]
    assert [is_lost(queue, name) for name in ("w", "x", "y")] == [True, False, True]
    assert sweep(queue) == []
    assert is_forgotten(queue, "w")
    assert worker(queue, "y") is None
    assert worker(queue, "x") is not None
    assert queue.complete(dead) == dict.fromkeys(ids(dead), "lost")


def test_a_dead_worker_without_leases_is_forgotten(queue: Queue) -> None:
    queue.register()
    queue.expire()
    assert sweep(queue) == []
    assert is_lost(queue)
    assert is_forgotten(queue)


def test_a_worker_whose_connection_is_gone_is_lost_at_once(
    queue: Queue, another: Callable[[], Queue]
) -> None:
    gone = another()
    gone.register()
    claimed = leased(gone)
    pid = gone.connection.info.backend_pid
    assert sweep(queue) == []
    assert queue.value("select tidemill._express_is_safe()")
    gone.connection.close()
    wait_until(
        lambda: not queue.value("select count(*) from pg_stat_activity where pid = %s", [pid]), "its end"
    )
    # Its leases are honoured until they run out, but all others are careful from now on.
    assert sweep(queue) == []
    assert not queue.value("select tidemill._express_is_safe()")
    assert queue.claim() == []
    # Its worker may live, and only have lost its connection.
    assert queue.row("select * from tidemill._heartbeat('w', '1 hour', 0, false)")["alive"]
    assert queue.value("select tidemill._express_is_safe()")
    assert sweep(queue) == []
    assert queue.complete(claimed) == {}


def test_a_lost_worker_is_not_forgotten_before_its_deadline(queue: Queue) -> None:
    queue.register()
    claimed = leased(queue)
    queue.connection.execute("update tidemill._workers set lost_at = now() - interval '1 hour'")
    assert not is_forgotten(queue)
    assert queue.complete(claimed) == {}
    assert not is_forgotten(queue)
    queue.expire()
    assert is_forgotten(queue)


def test_the_sweep_makes_no_job_due_before_its_run_at(queue: Queue) -> None:
    queue.register()
    job = queue.add()
    assert ids(queue.claim()) == [job["id"]]
    # As if the clock had been set back since the claim.
    queue.connection.execute("update tidemill._jobs set run_at = now() + interval '1 hour'")
    ahead = queue.kept(job["id"])["run_at"]
    queue.expire()
    assert sweep(queue) == [("w", job["id"], False)]
    assert queue.kept(job["id"])["run_at"] == ahead


def test_the_express_lane_is_unsafe_for_a_minute_after_a_loss(queue: Queue) -> None:
    assert queue.value("select tidemill._express_is_safe()")
    queue.register()
    queue.expire()
    assert queue.value("select tidemill._express_is_safe()")
    sweep(queue)
    assert not queue.value("select tidemill._express_is_safe()")
    age = "update tidemill._workers set lost_at = lost_at - interval {}"
    queue.connection.execute(age.format("'50 seconds'").encode())
    sweep(queue)
    assert not queue.value("select tidemill._express_is_safe()")
    queue.connection.execute(age.format("'10 seconds'").encode())
    assert queue.value("select tidemill._express_is_safe()")
    sweep(queue)
    assert worker(queue) is None


def test_one_that_was_swept_hears_of_it_and_registers_again(queue: Queue) -> None:
    queue.register()
    queue.expire()
    sweep(queue)
    assert queue.row("select * from tidemill._heartbeat('w', '1 hour', 0, false)")["alive"] is False
    assert is_lost(queue)
    queue.register()
    assert not is_lost(queue)
    assert queue.row("select * from tidemill._heartbeat('w', '1 hour', 0, false)")["alive"]


def test_leases_of_an_unknown_worker_are_honoured_for_a_while(queue: Queue) -> None:
    claimed = leased(queue)
    assert sweep(queue) == []
    age = "set locked_at = locked_at - interval '31 seconds'"
    queue.connection.execute(f"update tidemill._jobs {age} where id = {claimed[0]['id']}".encode())
    # Each lease by itself: the other one is as fresh as before.
    assert sweep(queue) == [("w", claimed[0]["id"], False)]
    assert holders(queue) == ([None, "w"], ["w"])
    queue.connection.execute(f"update tidemill._queues {age}".encode())
    assert sweep(queue) == []
    assert holders(queue) == ([None, "w"], [None])


def test_a_queue_of_an_unknown_worker_without_jobs_is_freed(queue: Queue) -> None:
    claimed = leased(queue)
    queue.complete(claimed)
    queue.connection.execute("update tidemill._queues set locked_at = locked_at - interval '31 seconds'")
    assert sweep(queue) == []
    assert holders(queue) == (None, [None])


def test_most_sweeps_look_at_workers_that_are_listed_alone(queue: Queue) -> None:
    leased(queue)
    queue.connection.execute("update tidemill._jobs set locked_at = locked_at - interval '31 seconds'")
    assert queue.rows("select * from tidemill._sweep_leases(with_unknown => false)") == []
    assert holders(queue) == (["w", "w"], ["w"])
    assert len(sweep(queue)) == 2


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_job_on_its_last_attempt_is_failed_with_a_message(queue: Queue, attempts: int) -> None:
    queue.register()
    added = queue.add(max_attempts=attempts, job_key="k")
    queue.connection.execute("update tidemill._jobs set attempts = %s", [attempts - 1])
    queue.claim()
    queue.expire()
    assert sweep(queue) == [("w", added["id"], True)]
    row = queue.row("select * from tidemill.jobs")
    assert (row["state"], row["attempts"], row["key"]) == ("failed", attempts, "k")
    for words in (f"Attempt {attempts} of {attempts}", "(worker w)", "crashed"):
        assert words in row["last_error"]


@pytest.mark.parametrize(
    ("withdraw", "words"),
    [
        ("select from tidemill.add_job('t', job_key := 'k')", ["newer job", "(worker w)"]),
        ("select from tidemill.remove_job('k')", ["removal by key", "(worker w)"]),
        ("select from tidemill.cancel_jobs(array[1], 'why')", ["Cancelled: why"]),
    ],
)
def test_withdrawn_jobs_of_dead_workers_are_failed(queue: Queue, withdraw: str, words: list[str]) -> None:
    queue.register()
    added = queue.add(job_key="k")
    queue.claim()
    queue.rows(withdraw)
    queue.expire()
    assert sweep(queue) == [("w", added["id"], True)]
    row = queue.kept(added["id"])
    assert (row["attempts"], row["withdrawn"]) == (25, None)
    for word in words:
        assert word in row["last_error"]
    assert "of 25" not in row["last_error"]


def test_the_sweep_does_not_wait_for_a_producer(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.register()
    queue.add(job_key="k")
    queue.add()
    held, free = queue.claim()
    queue.expire()
    producer = another()
    with producer.connection.transaction():
        producer.remove("k")
        queue.connection.execute("set statement_timeout = '10s'")
        assert sweep(queue) == [("w", free["id"], False)]
        # It is kept for as long as a lease of its own is left.
        assert not is_forgotten(queue)
        raise psycopg.Rollback
    assert sweep(queue) == [("w", held["id"], False)]
    assert worker(queue) is None


def test_signing_off(queue: Queue) -> None:
    queue.register("w")
    queue.register("x")
    claimed = leased(queue, "w")
    queue.rows("select tidemill._deregister_worker('x')")
    assert worker(queue, "x") is None
    # What it could not settle is for the next sweep, at once.
    queue.rows("select tidemill._deregister_worker('w')")
    row = worker(queue, "w")
    assert row is not None
    assert row["state"] == "lost"
    assert len(sweep(queue)) == len(claimed)
    assert is_forgotten(queue)


def test_signing_off_with_a_queue_in_hand(queue: Queue) -> None:
    queue.register()
    queue.complete(leased(queue))
    queue.rows("select tidemill._deregister_worker('w')")
    sweep(queue)
    assert queue.value("select locked_by from tidemill._queues") is None
    assert is_forgotten(queue)


def test_declarations_of_workers_that_are_gone_are_swept(queue: Queue) -> None:
    queue.register("x")
    queue.connection.execute("insert into tidemill._listeners values ('w'), ('x')")
    sweep(queue)
    assert queue.value("select array_agg(worker_id) from tidemill._listeners") == ["x"]
