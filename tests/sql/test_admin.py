"""What is done to jobs by key or id: remove, complete, fail, reschedule, cancel, unlock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.calls import Queue, Row, ids, refused

BY_ID: list[str] = ["complete_jobs", "permanently_fail_jobs", "reschedule_jobs", "cancel_jobs"]


def call(queue: Queue, function: str, job_ids: list[int]) -> list[Row]:
    return queue.rows(f"select * from tidemill.{function}(%s::bigint[])", [job_ids])


# Held jobs: whose lease still counts


def live(queue: Queue) -> None:
    queue.register()


def dead(queue: Queue) -> None:
    queue.register()
    queue.expire()


def unknown(queue: Queue) -> None:
    """The worker has no row, and its lease is fresh."""


def unknown_for_long(queue: Queue) -> None:
    queue.connection.execute("update tidemill._jobs set locked_at = now() - interval '31 seconds'")


HELD = [live, unknown]
FREE = [dead, unknown_for_long]


def leased(queue: Queue, lease: Callable[[Queue], None], **arguments: Any) -> Row:
    queue.add(job_key="k", **arguments)
    (job,) = queue.claim()
    lease(queue)
    return job


# remove_job


@pytest.mark.parametrize("failed", [False, True])
def test_remove_deletes_a_job_and_returns_it(queue: Queue, failed: bool) -> None:
    added = queue.add(job_key="k", payload=1)
    if failed:
        call(queue, "permanently_fail_jobs", [added["id"]])
    removed = queue.remove("k")
    assert (removed["id"], removed["payload"], removed["key"]) == (added["id"], 1, "k")
    assert removed["state"] == ("failed" if failed else "ready")
    assert queue.stored(added["id"]) is None


@pytest.mark.parametrize("key", ["nothing", None])
@pytest.mark.parametrize("schema", ["tidemill", "graphile_worker"])
def test_remove_of_nothing_is_one_row_of_nulls(queue: Queue, schema: str, key: str | None) -> None:
    row = queue.row(f"select * from {schema}.remove_job(%s)", [key])
    assert set(row.values()) == {None}
    assert len(row) == 17
    assert queue.value(f"select {schema}.remove_job(%s) is null", [key])


@pytest.mark.parametrize("lease", HELD)
def test_remove_of_a_running_job_withdraws_it(queue: Queue, lease: Callable[[Queue], None]) -> None:
    job = leased(queue, lease)
    removed = queue.remove("k")
    assert (removed["id"], removed["key"], removed["attempts"], removed["state"]) == (
        job["id"],
        None,
        25,
        "running",
    )
    left = queue.kept(job["id"])
    assert (left["key"], left["attempts"], left["withdrawn"], left["locked_by"]) == (None, 25, "removed", "w")
    assert left["updated_at"] > left["created_at"]
    assert queue.remove("k")["id"] is None
    assert queue.fail([job])[job["id"]]["outcome"] == "failed"


@pytest.mark.parametrize("lease", FREE)
def test_remove_of_a_job_whose_lease_ended_deletes_it(queue: Queue, lease: Callable[[Queue], None]) -> None:
    job = leased(queue, lease, queue_name="q")
    assert queue.remove("k")["id"] == job["id"]
    assert queue.stored(job["id"]) is None
    assert queue.value("select locked_by from tidemill._queues") == "w"
    assert queue.complete([job]) == {job["id"]: "lost"}


def test_removing_keeps_a_request_to_cancel(queue: Queue) -> None:
    job = leased(queue, live)
    call(queue, "cancel_jobs", [job["id"]])
    queue.remove("k")
    assert queue.kept(job["id"])["withdrawn"] == "cancelled"
    assert queue.value("select cancelled from tidemill._heartbeat('w', '1 hour', 0, false)") == [job["id"]]


# By id


@pytest.mark.parametrize("function", ["complete_jobs", "permanently_fail_jobs", "reschedule_jobs"])
@pytest.mark.parametrize("lease", HELD)
def test_running_jobs_are_passed_over(queue: Queue, function: str, lease: Callable[[Queue], None]) -> None:
    job = leased(queue, lease)
    before = queue.kept(job["id"])
    assert call(queue, function, [job["id"]]) == []
    assert queue.kept(job["id"]) == before


@pytest.mark.parametrize("function", BY_ID)
@pytest.mark.parametrize("lease", FREE)
def test_a_lease_that_ended_does_not_count(
    queue: Queue, function: str, lease: Callable[[Queue], None]
) -> None:
    job = leased(queue, lease)
    (row,) = call(queue, function, [job["id"]])
    assert row["id"] == job["id"]
    assert queue.fail([job])[job["id"]]["outcome"] == "lost"
    left = queue.stored(job["id"])
    if left is not None:
        assert (left["locked_at"], left["locked_by"], left["claim_token"]) == (None, None, None)


@pytest.mark.parametrize("function", BY_ID)
def test_rows_come_in_the_order_of_their_ids_and_unknown_ones_do_not(queue: Queue, function: str) -> None:
    added = ids([queue.add(), queue.add(), queue.add()])
    assert ids(call(queue, function, [*reversed(added), 999, added[0]])) == added
    assert call(queue, function, []) == []
    assert queue.rows(f"select * from tidemill.{function}(null)") == []


def test_complete_deletes_failed_ones_too(queue: Queue) -> None:
    added = queue.add(payload={"a": 1})
    call(queue, "permanently_fail_jobs", [added["id"]])
    (row,) = call(queue, "complete_jobs", [added["id"]])
    assert (row["payload"], row["state"]) == ({"a": 1}, "failed")
    assert queue.stored(added["id"]) is None


@pytest.mark.parametrize(("message", "stored"), [(None, "Manually marked as failed"), ("", ""), ("no", "no")])
def test_permanently_fail(queue: Queue, message: str | None, stored: str) -> None:
    added = queue.add(job_key="k", run_at="2030-01-01", max_attempts=3)
    (row,) = queue.rows("select * from tidemill.permanently_fail_jobs(%s, %s)", [[added["id"]], message])
    assert (row["last_error"], row["attempts"], row["state"]) == (stored, 3, "failed")
    assert row == added | {
        "last_error": stored,
        "attempts": 3,
        "state": "failed",
        "updated_at": row["updated_at"],
    }
    assert row["updated_at"] > added["updated_at"]


def test_reschedule_overwrites_what_is_given(queue: Queue) -> None:
    added = queue.add(job_key="k", priority=1, max_attempts=9)
    queue.fail(queue.claim())
    before = queue.kept(added["id"])
    columns: list[tuple[str, str, Any]] = [
        ("run_at", "'2030-01-01 00:00+00'", None),
        ("priority", "-7", -7),
        ("attempts", "0", 0),
        ("attempts", "-3", -3),
        ("max_attempts", "4", 4),
    ]
    for name, literal, value in columns:
        (row,) = queue.rows(
            f"select * from tidemill.reschedule_jobs(%s, {name} := {literal})", [[added["id"]]]
        )
        expected = before | {"updated_at": row["updated_at"], name: value or row[name]}
        if name == "attempts":
            # Without attempts behind it, the job is at its first again, and run_at is its slot.
            expected["slot"] = None
        assert queue.kept(added["id"]) == expected
        before = expected
    assert before["run_at"].year == 2030
    assert (before["last_error"], before["revision"], before["key"]) == ("boom", 0, "k")
    (row,) = call(queue, "reschedule_jobs", [added["id"]])
    assert queue.kept(added["id"]) == before | {"updated_at": row["updated_at"]}


def test_reschedule_brings_back_a_failed_job(queue: Queue) -> None:
    added = queue.add()
    call(queue, "permanently_fail_jobs", [added["id"]])
    (row,) = queue.rows("select * from tidemill.reschedule_jobs(%s, attempts := 0)", [[added["id"]]])
    assert row["state"] == "ready"
    assert ids(queue.claim()) == [added["id"]]


@pytest.mark.parametrize(
    ("argument", "sqlstate", "constraint", "words"),
    [
        ("max_attempts := 0", "23514", "jobs_max_attempts_check", ["max_attempts 0", "below 1"]),
        ("max_attempts := 32768", "22003", None, ["max_attempts 32768", "1 to 32767"]),
        ("priority := -32769", "22003", None, ["priority -32769", "-32768 to 32767"]),
        ("attempts := 32768", "22003", None, ["attempts 32768", "-32768 to 32767"]),
    ],
)
def test_reschedule_refuses(
    queue: Queue, argument: str, sqlstate: str, constraint: str | None, words: list[str]
) -> None:
    queue.add()
    for schema in ("tidemill", "graphile_worker"):
        with refused(sqlstate, *words, constraint=constraint):
            queue.rows(f"select * from {schema}.reschedule_jobs(array[1], {argument})")


# cancel_jobs


@pytest.mark.parametrize(
    ("reason", "stored"), [(None, "Cancelled"), ("", "Cancelled"), ("why", "Cancelled: why")]
)
def test_cancel_of_a_waiting_job(queue: Queue, reason: str | None, stored: str) -> None:
    added = queue.add(job_key="k")
    (row,) = queue.rows("select * from tidemill.cancel_jobs(%s, %s)", [[added["id"]], reason])
    assert (row["state"], row["last_error"], row["attempts"], row["key"]) == ("cancelled", stored, 0, "k")
    assert queue.kept(added["id"])["withdrawn"] is None


@pytest.mark.parametrize("lease", HELD)
def test_cancel_of_a_running_job_asks_its_worker(
    queue: Queue, another: Callable[[], Queue], lease: Callable[[Queue], None]
) -> None:
    listening = another()
    listening.connection.execute('listen "tidemill:cancel"')
    job = leased(queue, lease)
    (row,) = queue.rows("select * from tidemill.cancel_jobs(%s, 'why')", [[job["id"]]])
    assert (row["state"], row["last_error"], row["attempts"]) == ("running", "Cancelled: why", 1)
    (heard,) = listening.connection.notifies(timeout=10, stop_after=1)
    assert heard.payload == str(job["id"])
    # Whatever comes of it, it does not run again, and the reason stays.
    assert queue.fail([job], message="cut short")[job["id"]]["outcome"] == "cancelled"
    row = queue.row("select state, last_error, attempts from tidemill.jobs")
    assert row == {"state": "cancelled", "last_error": "Cancelled: why", "attempts": 1}


def test_cancel_of_many_running_jobs_tells_of_all(queue: Queue, another: Callable[[], Queue]) -> None:
    listening = another()
    listening.connection.execute('listen "tidemill:cancel"')
    # The longest numbers that there are.
    queue.connection.execute(
        "insert into tidemill._jobs (id, task_id) overriding system value"
        " select 9223372036854775807 - n, tidemill._task_id('t') from generate_series(1, 1000) n"
    )
    claimed = queue.claim(count=1000)
    rows = queue.rows("select * from tidemill.cancel_jobs(%s)", [ids(claimed)])
    assert ids(rows) == sorted(ids(claimed))
    heard: list[int] = []
    for notification in listening.connection.notifies(timeout=10):
        heard += map(int, notification.payload.split(","))
        if len(heard) == 1000:
            break
    assert sorted(heard) == ids(rows)


def test_cancel_keeps_the_error_of_a_failed_job(queue: Queue) -> None:
    queue.add()
    (job,) = queue.claim()
    queue.fail([job], permanent=True)
    assert call(queue, "cancel_jobs", [job["id"]]) == []
    assert queue.kept(job["id"])["last_error"] == "boom"


def test_cancel_of_a_replaced_running_job(queue: Queue) -> None:
    job = leased(queue, live)
    added = queue.add(job_key="k")
    assert ids(call(queue, "cancel_jobs", [job["id"]])) == [job["id"]]
    assert queue.kept(job["id"])["withdrawn"] == "cancelled"
    assert queue.kept(added["id"])["attempts"] == 0


# force_unlock_workers


def test_force_unlock_frees_jobs_and_queues(queue: Queue) -> None:
    for worker in ("w", "x", "y"):
        queue.add(queue_name=f"q{worker}", max_attempts=2)
        queue.add()
        assert len(queue.claim(worker)) == 2
    before = queue.rows("select * from tidemill._jobs order by id")
    assert queue.rows("select tidemill.force_unlock_workers('{w,x,unknown}')") == [
        {"force_unlock_workers": ""}
    ]
    free = {"locked_at": None, "locked_by": None, "claim_token": None}
    after = queue.rows("select * from tidemill._jobs order by id")
    # Attempts, run_at, updated_at and all else are as they were.
    assert after == [row | (free if row["locked_by"] in ("w", "x") else {}) for row in before]
    assert queue.value("select array_agg(locked_by order by id) from tidemill._queues") == [None, None, "y"]


def test_force_unlock_on_the_last_attempt_says_so(queue: Queue) -> None:
    queue.add(max_attempts=1)
    (job,) = queue.claim()
    queue.rows("select tidemill.force_unlock_workers('{w}')")
    row = queue.row("select state, last_error from tidemill.jobs")
    assert row["state"] == "failed"
    for word in ("Attempt 1 of 1", "force_unlock_workers", "(worker w)"):
        assert word in row["last_error"]
    assert queue.complete([job]) == {job["id"]: "lost"}
