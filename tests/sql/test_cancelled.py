"""Cancelled: a state of its own, with the true number of attempts, that nothing but a wish ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sql.calls import Queue, ids


def waiting(queue: Queue, **arguments: Any) -> int:
    """A job that was cancelled while it waited for its second retry."""
    job_id: int = queue.add(**arguments)["id"]
    for _ in range(2):
        queue.rows("select from tidemill.reschedule_jobs(%s, run_at => now())", [[job_id]])
        queue.fail(queue.claim())
    cancel(queue, job_id)
    return job_id


def cancel(queue: Queue, *job_ids: int) -> list[Any]:
    return queue.rows("select * from tidemill.cancel_jobs(%s, 'why')", [list(job_ids)])


def told(queue: Queue) -> tuple[Any, ...]:
    row = queue.row("select state, attempts, last_error, retrying from tidemill.jobs order by id limit 1")
    return tuple(row.values())


CANCELLED = ("cancelled", 2, "Cancelled: why", False)


def test_a_waiting_job_keeps_its_number_of_attempts(queue: Queue) -> None:
    job_id = waiting(queue)
    assert told(queue) == CANCELLED
    assert queue.claim() == []
    assert cancel(queue, job_id) == []


@pytest.mark.parametrize("end", ["fail", "fail for good", "cancel", "sweep", "unlock"])
def test_a_running_job_counts_the_attempt_that_it_began(queue: Queue, end: str) -> None:
    queue.register()
    queue.add()
    (job,) = queue.claim()
    for _ in range(2):
        # Asked again, it is still the same attempt.
        (row,) = cancel(queue, job["id"])
        assert (row["state"], row["attempts"]) == ("running", 1)
    match end:
        case "fail":
            queue.fail([job])
        case "fail for good":
            queue.fail([job], permanent=True)
        case "cancel":
            queue.fail([job], permanent=True, cancelled=True)
        case "sweep":
            queue.expire()
            queue.rows("select from tidemill._sweep_leases()")
        case _:
            queue.rows("select tidemill.force_unlock_workers('{w}')")
    assert told(queue) == ("cancelled", 1, "Cancelled: why", False)
    assert queue.claim() == []


def test_a_job_that_is_given_back_has_not_spent_its_attempt(queue: Queue) -> None:
    queue.add()
    jobs = queue.claim()
    cancel(queue, *ids(jobs))
    queue.give_back(jobs)
    assert told(queue) == ("cancelled", 0, "Cancelled: why", False)


def test_its_task_cancels_it(queue: Queue) -> None:
    queue.add()
    (job,) = queue.claim()
    assert queue.fail([job], message="gone", cancelled=True)[job["id"]]["outcome"] == "cancelled"
    assert told(queue) == ("cancelled", 1, "gone", False)


@pytest.mark.parametrize("arguments", ["attempts => 0", "attempts => 1, max_attempts => 9"])
def test_only_a_number_of_attempts_brings_it_back(queue: Queue, arguments: str) -> None:
    job_id = waiting(queue)
    for change in ("run_at => now()", "priority => 5", "max_attempts => 3", "max_attempts => 99"):
        (row,) = queue.rows(f"select * from tidemill.reschedule_jobs(%s, {change})".encode(), [[job_id]])
        assert (row["state"], row["attempts"]) == ("cancelled", 2)
        assert queue.claim() == []
    queue.rows(f"select * from tidemill.reschedule_jobs(%s, {arguments})".encode(), [[job_id]])
    assert told(queue)[0] == "ready"
    assert ids(queue.claim()) == [job_id]


def test_what_else_ends_it(queue: Queue) -> None:
    first = waiting(queue)
    queue.rows("select from tidemill.permanently_fail_jobs(%s, 'no')", [[first]])
    assert told(queue) == ("failed", 25, "no", False)
    queue.rows("select from tidemill.complete_jobs(%s)", [[first]])
    waiting(queue, job_key="k")
    assert queue.remove("k")["state"] == "cancelled"
    assert queue.rows("select from tidemill.jobs") == []


def test_an_add_with_its_key_makes_a_new_job(queue: Queue) -> None:
    job_id = waiting(queue, job_key="k")
    assert queue.add(job_key="k", job_key_mode="unsafe_dedupe")["id"] == job_id
    assert told(queue) == CANCELLED
    added = queue.add(job_key="k")
    assert added["id"] != job_id
    assert told(queue) == CANCELLED
    assert queue.kept(job_id)["key"] is None
    assert ids(queue.claim()) == [added["id"]]


def test_for_graphile_worker_it_has_failed_for_good(queue: Queue) -> None:
    """There is no such state, and a job is over if its attempts are max_attempts."""
    waiting(queue, job_key="k")
    (seen,) = queue.rows("select attempts, max_attempts from graphile_worker.jobs")
    assert seen == {"attempts": 25, "max_attempts": 25}
    over = {"attempts": 25, "is_available": False}
    assert queue.row("select attempts, is_available from graphile_worker._private_jobs") == over
    removed = queue.row("select attempts, is_available from graphile_worker.remove_job('k')")
    assert removed == over


@pytest.mark.parametrize("function", ["cancel_jobs", "permanently_fail_jobs"])
@pytest.mark.parametrize("length", [9_000, 1_234_567])
def test_a_reason_is_bounded(queue: Queue, function: str, length: int) -> None:
    reason = "head" + "x" * (length - 8) + "tail"
    queue.add()
    queue.rows(f"select from tidemill.{function}(array[1], %s)".encode(), [reason])
    stored = told(queue)[2].removeprefix("Cancelled: ")
    assert len(stored) <= 10_000
    assert (stored == reason) == (length < 10_000)
    assert (stored[:5], stored[-5:]) == ("headx", "xtail")
    assert length < 10_000 or " characters left out ... " in stored


def test_retrying(queue: Queue) -> None:
    """Has failed, and waits for its retry."""
    names = ["new", "fails", "has failed", "runs", "cancelled", "retried by hand", "its worker died"]
    for name in names:
        queue.add(name, max_attempts=2)
    everything = {row["identifier"]: row for row in queue.claim(tasks=names)}

    def end(name: str, **how: Any) -> None:
        queue.fail([everything[name]], **how)

    queue.give_back([everything["new"]])
    end("fails")
    end("has failed", permanent=True)
    end("cancelled")
    cancel(queue, everything["cancelled"]["id"])
    end("retried by hand")
    queue.rows(
        "select from tidemill.reschedule_jobs(%s, attempts => 0)", [[everything["retried by hand"]["id"]]]
    )
    queue.connection.execute(
        "update tidemill._jobs set locked_by = 'dead', locked_at = now() - interval '1 day' where id = %s",
        [everything["its worker died"]["id"]],
    )
    queue.rows("select from tidemill._sweep_leases()")
    found = queue.rows("select identifier from tidemill.jobs where retrying order by id")
    assert [row["identifier"] for row in found] == ["fails", "its worker died"]
