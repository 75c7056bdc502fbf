"""A job_key in all its modes, meeting a job in each of its states."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.sql.calls import Queue, Row

pytestmark = pytest.mark.versions(18, 17, 16, 15)

SOON = "2030-01-01 00:00+00"
LATER = "2031-01-01 00:00+00"
# What the second add says; everything that it leaves out goes back to the default.
SECOND: Row = {"job_key": "k", "payload": {"second": True}, "run_at": LATER, "max_attempts": 7, "priority": 3}


@pytest.fixture(params=["replace", "preserve_run_at"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def first(queue: Queue, **more: Any) -> Row:
    given: Row = {
        "payload": {"first": True},
        "run_at": SOON,
        "queue_name": "q",
        "flags": ["f"],
        "priority": -2,
    }
    return queue.add("first", job_key="k", **given | more)


def claim(queue: Queue, job: Row) -> Row:
    """Claims the job as worker w, due or not."""
    queue.connection.execute(
        "update tidemill._jobs set run_at = now() - interval '1 minute' where id = %s", [job["id"]]
    )
    (claimed,) = queue.claim(tasks=["first"])
    queue.rows(
        "select from tidemill._release_queues('w', %s, %s)",
        [[claimed["queue_id"]], [claimed["claim_token"]]],
    )
    return claimed


def fail(queue: Queue, job: Row, *, permanent: bool = False) -> Row:
    claimed = claim(queue, job)
    queue.fail([claimed], permanent=permanent)
    return queue.kept(job["id"])


def seen(queue: Queue, row: Row) -> Row:
    """What matters of a job, times told by their year."""
    return queue.row(
        "select identifier, payload, queue_name, extract(year from run_at)::int as year, max_attempts,"
        " attempts, last_error, key, priority, flags, revision from tidemill.jobs where id = %s",
        [row["id"]],
    )


def as_second(year: int, revision: int) -> Row:
    return {
        "identifier": "second",
        "payload": {"second": True},
        "queue_name": None,
        "year": year,
        "max_attempts": 7,
        "attempts": 0,
        "last_error": None,
        "key": "k",
        "priority": 3,
        "flags": None,
        "revision": revision,
    }


def test_no_job_with_the_key(queue: Queue, mode: str) -> None:
    added = queue.add("second", **SECOND, job_key_mode=mode)
    assert seen(queue, added) == as_second(2031, 0)


def test_a_waiting_job_is_changed(queue: Queue, mode: str) -> None:
    old = first(queue)
    added = queue.add("second", **SECOND, job_key_mode=mode)
    assert added["id"] == old["id"]
    assert seen(queue, added) == as_second(2030 if mode == "preserve_run_at" else 2031, 1)
    assert added["created_at"] == old["created_at"]
    assert added["updated_at"] > old["updated_at"]


def test_a_job_that_failed_before_is_changed_and_starts_over(queue: Queue, mode: str) -> None:
    old = first(queue)
    assert fail(queue, old)["attempts"] == 1
    added = queue.add("second", **SECOND, job_key_mode=mode)
    assert added["id"] == old["id"]
    # Even preserve_run_at takes the new time: the old one is the time of a retry.
    assert seen(queue, added) == as_second(2031, 1)


def test_preserve_run_at_keeps_a_time_that_was_given_back(queue: Queue) -> None:
    old = first(queue)
    claimed = claim(queue, old)
    queue.give_back([claimed])
    added = queue.add("second", **SECOND, job_key_mode="preserve_run_at")
    assert (added["id"], added["run_at"]) == (old["id"], claimed["run_at"])


def test_a_running_job_loses_its_key_to_a_new_one(queue: Queue, mode: str) -> None:
    old = first(queue)
    claimed = claim(queue, old)
    added = queue.add("second", **SECOND, job_key_mode=mode)
    assert added["id"] != old["id"]
    assert seen(queue, added) == as_second(2031, 0)
    left = queue.kept(old["id"])
    assert (left["key"], left["attempts"], left["max_attempts"], left["withdrawn"]) == (
        None,
        25,
        25,
        "replaced",
    )
    assert (left["locked_by"], left["claim_token"]) == ("w", claimed["claim_token"])
    assert left["updated_at"] > old["updated_at"]
    assert left["payload"] == {"first": True}


def test_a_running_job_counts_as_running_though_its_lease_has_ended(queue: Queue, mode: str) -> None:
    old = first(queue)
    queue.register()
    claim(queue, old)
    queue.expire()
    assert queue.add("second", **SECOND, job_key_mode=mode)["id"] != old["id"]
    assert queue.kept(old["id"])["locked_by"] == "w"


def test_a_job_that_failed_for_good_stays_without_its_key(queue: Queue, mode: str) -> None:
    old = first(queue)
    failed = fail(queue, old, permanent=True)
    added = queue.add("second", **SECOND, job_key_mode=mode)
    assert added["id"] != old["id"]
    assert seen(queue, added) == as_second(2031, 0)
    left = queue.kept(old["id"])
    assert left == failed | {"key": None, "updated_at": left["updated_at"]}
    assert left["last_error"] == "boom"
    assert left["withdrawn"] is None


def test_a_completed_job_is_gone(queue: Queue, mode: str) -> None:
    old = first(queue)
    assert queue.complete([claim(queue, old)]) == {}
    added = queue.add("second", **SECOND, job_key_mode=mode)
    assert added["id"] != old["id"]
    assert seen(queue, added) == as_second(2031, 0)


def test_unsafe_dedupe_adds_where_there_is_no_job(queue: Queue) -> None:
    added = queue.add("second", **SECOND, job_key_mode="unsafe_dedupe")
    assert seen(queue, added) == as_second(2031, 0)
    assert queue.complete([claim(queue, first(queue, job_key_mode="replace"))]) == {}
    again = queue.add("second", **SECOND, job_key_mode="unsafe_dedupe")
    assert again["id"] > added["id"]


@pytest.mark.parametrize("state", ["waiting", "failed", "running", "failed for good"])
def test_unsafe_dedupe_changes_nothing(queue: Queue, state: str) -> None:
    old = first(queue)
    match state:
        case "failed":
            fail(queue, old)
        case "running":
            claim(queue, old)
        case "failed for good":
            fail(queue, old, permanent=True)
    before = queue.kept(old["id"])
    added = queue.add("second", **SECOND, job_key_mode="unsafe_dedupe")
    after = queue.kept(old["id"])
    assert added["id"] == old["id"]
    assert (added["identifier"], added["payload"]) == ("first", None)
    assert after == before | {"revision": 1, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ([1, {"a": 2}], [None, "x"], [1, {"a": 2}, None, "x"]),
        ([], [], []),
        ([], [1], [1]),
        ([[1]], [[2]], [[1], [2]]),
        ([1], {"a": 1}, {"a": 1}),
        ({"a": 1}, [1], [1]),
        ({"a": 1}, {"b": 2}, {"b": 2}),
        ([1], None, None),
        ([1], 5, 5),
    ],
)
def test_two_arrays_are_joined(queue: Queue, mode: str, old: Any, new: Any, merged: Any) -> None:
    queue.add(job_key="k", payload=old)
    added = queue.add(job_key="k", payload=new, job_key_mode=mode)
    assert (queue.kept(added["id"])["payload"], added["revision"]) == (merged, 1)
    # What was there may be of others, and an array says nothing of it.
    assert added["payload"] == (None if isinstance(new, list) else merged)


def test_joined_elements_stay_as_they_were_written(queue: Queue) -> None:
    for _ in range(2):
        queue.rows("""select tidemill.add_job('t', '[{"b": 1.50, "a":  1, "a": 2}]', job_key := 'k')""")
    text = queue.value("select payload::text from tidemill._jobs")
    assert text.count('{"b": 1.50, "a":  1, "a": 2}') == 2


def test_arrays_are_joined_after_a_failure_too(queue: Queue, mode: str) -> None:
    old = first(queue, payload=[1])
    fail(queue, old)
    added = queue.add(job_key="k", payload=[2], job_key_mode=mode)
    assert queue.kept(added["id"])["payload"] == [1, 2]


def test_arrays_are_not_joined_with_a_job_that_runs(queue: Queue, mode: str) -> None:
    claim(queue, first(queue, payload=[1]))
    assert queue.add(job_key="k", payload=[2], job_key_mode=mode)["payload"] == [2]


def test_a_missing_payload_replaces_too(queue: Queue, mode: str) -> None:
    queue.add(job_key="k", payload=[1])
    assert queue.add(job_key="k", job_key_mode=mode)["payload"] == {}


def test_preserve_run_at_lets_a_queue_be_left(queue: Queue) -> None:
    first(queue)
    assert queue.add(job_key="k", job_key_mode="preserve_run_at")["queue_name"] is None


def test_a_key_is_one_across_tasks(queue: Queue) -> None:
    assert queue.add("one", job_key="k")["id"] == queue.add("two", job_key="k")["id"]


def test_a_replaced_job_that_fails_is_not_tried_again(queue: Queue) -> None:
    claimed = claim(queue, first(queue))
    queue.add("second", **SECOND)
    outcome = queue.fail([claimed], delay=timedelta(0))[claimed["id"]]["outcome"]
    assert outcome == "failed"
    assert queue.claim(tasks=["first"]) == []


def test_a_replaced_job_that_succeeds_is_deleted(queue: Queue) -> None:
    claimed = claim(queue, first(queue))
    added = queue.add("second", **SECOND)
    assert queue.complete([claimed]) == {}
    assert queue.value("select array_agg(id) from tidemill.jobs") == [added["id"]]
