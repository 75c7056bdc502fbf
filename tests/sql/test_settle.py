"""How leased jobs end: completed, failed, given back, or lost; and never by waiting for a producer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sql.calls import Queue, Row, ids

pytestmark = pytest.mark.versions(18, 17, 16, 15)

Settle = Callable[[Queue, list[Row], str], dict[int, Any]]


def complete(queue: Queue, jobs: list[Row], worker: str = "w") -> dict[int, Any]:
    return queue.complete(jobs, worker)


def fail(queue: Queue, jobs: list[Row], worker: str = "w") -> dict[int, Any]:
    told = queue.fail(jobs, worker)
    return {number: row["outcome"] for number, row in told.items() if row["outcome"] in ("busy", "lost")}


def give_back(queue: Queue, jobs: list[Row], worker: str = "w") -> dict[int, Any]:
    return queue.give_back(jobs, worker)


WAYS: list[Settle] = [complete, fail, give_back]


def claimed(queue: Queue, count: int = 1, **arguments: Any) -> list[Row]:
    for _ in range(count):
        queue.add(**arguments)
    return queue.claim(count=count)


@pytest.mark.parametrize("settle", WAYS)
def test_all_of_a_batch(queue: Queue, settle: Settle) -> None:
    jobs = claimed(queue, 500)
    assert settle(queue, jobs, "w") == {}
    assert queue.value("select count(*) from tidemill._jobs where locked_at is not null") == 0
    assert queue.value("select count(*) from tidemill._jobs") == (0 if settle is complete else 500)


@pytest.mark.parametrize("settle", WAYS)
def test_nothing_to_settle(queue: Queue, settle: Settle) -> None:
    assert settle(queue, [], "w") == {}


@pytest.mark.parametrize("settle", WAYS)
def test_a_stale_lease_changes_nothing(queue: Queue, settle: Settle) -> None:
    first, second, gone = claimed(queue, 3)
    queue.rows("select tidemill.force_unlock_workers('{w}')")
    queue.rows("select * from tidemill.complete_jobs(%s)", [[gone["id"]]])
    # The same worker has claimed one of them again, another one the other.
    (again,) = queue.claim(count=1)
    (others,) = queue.claim("x", count=1)
    assert (again["id"], others["id"]) == (first["id"], second["id"])
    before = queue.rows("select * from tidemill._jobs order by id")
    jobs = [first, second, gone]
    assert settle(queue, jobs, "w") == dict.fromkeys(ids(jobs), "lost")
    assert settle(queue, [others], "w") == {others["id"]: "lost"}
    assert settle(queue, [again], "x") == {again["id"]: "lost"}
    assert queue.rows("select * from tidemill._jobs order by id") == before
    assert settle(queue, [again], "w") == {}


@pytest.mark.parametrize("settle", WAYS)
def test_a_row_that_a_producer_holds_is_busy(
    queue: Queue, another: Callable[[], Queue], settle: Settle
) -> None:
    queue.add(job_key="k")
    jobs = claimed(queue, 499)
    jobs += queue.claim()
    assert len(jobs) == 500
    held = next(job for job in jobs if job["key"] == "k")
    producer = another()
    with producer.connection.transaction():
        producer.add(job_key="k")
        queue.connection.execute("set statement_timeout = '10s'")
        assert settle(queue, jobs, "w") == {held["id"]: "busy"}
        assert queue.value("select count(*) from tidemill._jobs where locked_at is not null") == 1
        assert settle(queue, [held], "w") == {held["id"]: "busy"}
    assert settle(queue, [held], "w") == {}
    assert queue.value("select count(*) from tidemill._jobs where locked_at is not null") == 0
    assert queue.value("select count(*) from tidemill._jobs where key = 'k'") == 1


@pytest.mark.parametrize("attempt", [1, 2, 3, 9, 10, 11, 24])
def test_backoff(queue: Queue, attempt: int) -> None:
    added = queue.add()
    queue.connection.execute("update tidemill._jobs set attempts = %s", [attempt - 1])
    jobs = queue.claim()
    with queue.connection.transaction():
        now = queue.value("select now()")
        told = queue.fail(jobs, message="why")[added["id"]]
    row = queue.kept(added["id"])
    wanted = timedelta(seconds=math.exp(min(10, attempt)))
    assert abs(row["run_at"] - now - wanted) < timedelta(milliseconds=1)
    assert told == {"id": added["id"], "outcome": "retry", "run_at": row["run_at"]}
    assert (row["attempts"], row["last_error"], row["updated_at"]) == (attempt, "why", now)
    assert (row["locked_at"], row["locked_by"], row["claim_token"]) == (None, None, None)


def test_backoff_counts_from_run_at_where_that_is_later(queue: Queue) -> None:
    jobs = claimed(queue)
    # Nothing shipped does this to a running job; the rule holds all the same.
    queue.connection.execute("update tidemill._jobs set run_at = '2040-01-01 00:00+00'")
    queue.fail(jobs)
    ahead = queue.value(
        "select extract(epoch from run_at - '2040-01-01 00:00+00')::float8 from tidemill._jobs"
    )
    assert ahead == pytest.approx(math.e, abs=0.001)


def test_a_delay_of_ones_own(queue: Queue) -> None:
    jobs = claimed(queue, 2)
    with queue.connection.transaction():
        now = queue.value("select now()")
        queue.fail(jobs[:1], delay=timedelta(hours=3))
        queue.fail(jobs[1:], delay=timedelta(0))
    rows = queue.rows("select run_at from tidemill._jobs order by id")
    assert [row["run_at"] - now for row in rows] == [timedelta(hours=3), timedelta(0)]


def test_the_last_attempt_fails_for_good(queue: Queue) -> None:
    jobs = claimed(queue, max_attempts=1, job_key="k")
    assert queue.fail(jobs)[jobs[0]["id"]]["outcome"] == "failed"
    row = queue.kept(jobs[0]["id"])
    assert (row["attempts"], row["key"], row["last_error"]) == (1, "k", "boom")
    assert row["run_at"] > jobs[0]["run_at"]


def test_a_permanent_failure_spends_all_attempts(queue: Queue) -> None:
    jobs = claimed(queue)
    assert queue.fail(jobs, permanent=True)[jobs[0]["id"]]["outcome"] == "failed"
    assert queue.kept(jobs[0]["id"])["attempts"] == 25


@pytest.mark.parametrize("permanent", [False, True])
def test_what_is_left_of_a_batch_job(queue: Queue, permanent: bool) -> None:
    jobs = claimed(queue, payload=[1, 2, 3])
    queue.fail(jobs, payload=json.dumps([2]), permanent=permanent)
    assert queue.kept(jobs[0]["id"])["payload"] == [2]
    other = claimed(queue, payload=[4])
    queue.fail(other)
    assert queue.kept(other[0]["id"])["payload"] == [4]


def test_each_of_a_batch_fails_in_its_own_way(queue: Queue) -> None:
    jobs = claimed(queue, 3)
    queue.rows(
        "select * from tidemill._fail_jobs('w', %s, %s, '{a,b,c}', array[null, '1 hour', null]::interval[],"
        " '{f,f,t}', array['1', null, '3'])",
        [ids(jobs), [job["claim_token"] for job in jobs]],
    )
    rows = queue.rows("select last_error, payload, attempts from tidemill._jobs order by id")
    assert [tuple(row.values()) for row in rows] == [("a", 1, 1), ("b", {}, 1), ("c", 3, 25)]


def test_giving_back_spends_no_attempt(queue: Queue) -> None:
    added = queue.add()
    jobs = queue.claim()
    queue.give_back(jobs)
    row = queue.kept(added["id"])
    assert (row["attempts"], row["run_at"], row["updated_at"], row["last_error"]) == (
        0,
        added["run_at"],
        added["updated_at"],
        None,
    )
    assert ids(queue.claim()) == [added["id"]]


def test_giving_back_spends_none_of_the_attempts_that_were_added(queue: Queue) -> None:
    added = queue.add()
    queue.rows("select from tidemill.reschedule_jobs(%s, attempts => -2)", [[added["id"]]])
    jobs = queue.claim()
    assert queue.kept(added["id"])["attempts"] == -1
    queue.give_back(jobs)
    assert queue.kept(added["id"])["attempts"] == -2


@pytest.mark.parametrize(
    ("withdraw", "words"),
    [("replaced", "newer job"), ("removed", "removal by key"), ("cancelled", "Cancelled: why")],
)
def test_withdrawn_jobs_end_whatever_becomes_of_them(queue: Queue, withdraw: str, words: str) -> None:
    def withdrawn() -> list[Row]:
        jobs = claimed(queue, job_key="k")
        match withdraw:
            case "replaced":
                queue.add(job_key="k")
                queue.remove("k")
            case "removed":
                queue.remove("k")
            case "cancelled":
                queue.rows("select * from tidemill.cancel_jobs(%s, 'why')", [ids(jobs)])
        assert queue.kept(jobs[0]["id"])["withdrawn"] == withdraw
        return jobs

    jobs = withdrawn()
    assert queue.complete(jobs) == {}
    assert queue.stored(jobs[0]["id"]) is None

    jobs = withdrawn()
    ended = "cancelled" if withdraw == "cancelled" else "failed"
    assert queue.fail(jobs, delay=timedelta(0))[jobs[0]["id"]]["outcome"] == ended
    row = queue.kept(jobs[0]["id"])
    assert row["last_error"] == (words if withdraw == "cancelled" else "boom")
    assert (row["attempts"], row["withdrawn"]) == (25, None)

    for free in (
        lambda jobs: queue.give_back(jobs),
        lambda jobs: queue.rows("select tidemill._return_unknown_jobs('w', '{}')"),
    ):
        jobs = withdrawn()
        free(jobs)
        row = queue.kept(jobs[0]["id"])
        assert words in row["last_error"]
        assert (row["attempts"], row["withdrawn"], row["locked_at"]) == (25, None, None)
    assert queue.claim() == []


def test_claims_whose_answer_never_arrived_are_free_again(queue: Queue) -> None:
    for name in ("p", "q", None, None):
        queue.add(queue_name=name)
    known = queue.claim(count=1, per_queue=1)
    lost = queue.claim(count=2, per_queue=1, queues_first=True)
    others = queue.claim("x")
    freed = queue.rows("select * from tidemill._return_unknown_jobs('w', %s)", [[known[0]["claim_token"]]])
    assert [row["_return_unknown_jobs"] for row in freed] == sorted(ids(lost))
    assert queue.value("select array_agg(locked_by order by queue_name) from tidemill._queues") == ["w", None]
    for job in lost:
        assert queue.kept(job["id"])["attempts"] == 0
    assert queue.complete(lost) == dict.fromkeys(ids(lost), "lost")
    assert queue.complete(known) == {}
    assert queue.complete(others, "x") == {}
    assert queue.rows("select * from tidemill._return_unknown_jobs('w', '{}')") == []


def test_a_claim_sees_the_slot_of_a_job_that_failed_after_it_had_begun(queue: Queue) -> None:
    due = datetime(2021, 3, 4, tzinfo=UTC)
    job = queue.add(run_at=due)
    [claimed] = queue.claim()
    shown = queue.row(
        "select tidemill._slot_of_job(f.id) as slot from tidemill._fail_jobs("
        "'w', array[%s]::bigint[], array[%s]::bigint[], array['no'], array[null]::interval[], array[false], "
        "array[null]::text[]) f",
        [job["id"], claimed["claim_token"]],
    )
    assert shown["slot"] == due
