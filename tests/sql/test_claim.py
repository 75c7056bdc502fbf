"""Claims in both lanes: which jobs they take, in which order, and what holding them means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.sql.calls import Queue, Row, ids

pytestmark = pytest.mark.versions(18, 17, 16, 15)


def past(seconds: int) -> str:
    return f"2020-01-01 00:00:{59 - seconds:02}+00"


@dataclass
class Lane:
    """Claims by lease, or by row locks: then each claim is a transaction of its own."""

    queue: Queue
    another: Callable[[], Queue]
    express: bool
    batches: dict[int, Queue] = field(default_factory=dict)
    """Where jobs are locked, by their ids."""

    def claim(self, worker: str = "w", **search: Any) -> list[Row]:
        if not self.express:
            return self.queue.claim(worker, **search)
        batch = self.another()
        batch.connection.execute("begin")
        jobs = batch.claim(worker, express=True, quick=search.get("tasks", ["t"]), **search)
        self.batches |= {job["id"]: batch for job in jobs}
        if not jobs:
            batch.connection.execute("rollback")
        return jobs

    def complete(self, jobs: list[Row]) -> None:
        """Completes all jobs of a claim, and frees its named queues."""
        if not self.express:
            assert self.queue.complete(jobs) == {}
            self.queue.release(jobs)
            return
        batch = self.batches[jobs[0]["id"]]
        batch.close_batch(done=jobs)
        batch.connection.execute("commit")


@pytest.fixture(params=["lease", "express"])
def lane(request: pytest.FixtureRequest, queue: Queue, another: Callable[[], Queue]) -> Lane:
    return Lane(queue, another, request.param == "express")


def test_what_a_claim_tells(queue: Queue, lane: Lane) -> None:
    added = queue.add(payload={"a": 1}, flags=["f"], priority=2, max_attempts=3)
    (job,) = lane.claim()
    assert job == {
        "id": added["id"],
        "identifier": "t",
        "queue_id": None,
        "queue_name": None,
        "payload": '{"a": 1}',
        "priority": 2,
        "run_at": added["run_at"],
        "attempt": 1,
        "max_attempts": 3,
        "created_at": added["created_at"],
        "key": None,
        "revision": 0,
        "flags": ["f"],
        "keep": None,
        "trace": None,
        "claim_token": queue.kept(added["id"])["claim_token"],
    }
    assert (job["claim_token"] is None) == lane.express


def test_a_lease(queue: Queue) -> None:
    added = queue.add(job_key="k")
    (job,) = queue.claim()
    now = queue.kept(added["id"])
    assert (job["key"], job["attempt"], job["claim_token"]) == ("k", 1, now["claim_token"])
    assert (now["locked_by"], now["attempts"], now["updated_at"]) == ("w", 1, added["updated_at"])
    assert queue.value("select now() - locked_at < interval '1 minute' from tidemill._jobs")
    assert queue.value("select state from tidemill.jobs") == "running"


def test_each_lease_has_a_token_of_its_own(queue: Queue) -> None:
    for _ in range(4):
        queue.add()
    one, two = queue.claim(count=2), queue.claim(count=2)
    assert len({job["claim_token"] for job in one}) == 1
    assert one[0]["claim_token"] < two[0]["claim_token"] == two[1]["claim_token"]


def test_the_most_urgent_come_first(queue: Queue, lane: Lane) -> None:
    wanted: list[Row] = []
    for priority in (-3, 0, 0, 5):
        for seconds in (9, 4, 4):
            wanted.append(queue.add(priority=priority, run_at=past(seconds)))
    expected = [
        job["id"] for job in sorted(wanted, key=lambda job: (job["priority"], job["run_at"], job["id"]))
    ]
    claimed = [job for _ in range(3) for job in ids(lane.claim(count=5))]
    assert claimed == expected


def test_a_claim_locks_no_more_than_it_returns(
    queue: Queue, lane: Lane, another: Callable[[], Queue]
) -> None:
    for priority in (1, 2, 3):
        for _ in range(4):
            queue.add(priority=priority)
    for name in ("p", "q"):
        for _ in range(3):
            queue.add(queue_name=name)
    other = another()
    with other.connection.transaction():
        search: Row = {"express": lane.express, "quick": ["t"] if lane.express else []}
        claimed = other.claim(count=6, queues_first=False, **search)
        claimed += other.claim(count=1, per_queue=2, **search)
        assert len(claimed) == 8
        free = queue.rows("select id from tidemill._jobs order by id for update skip locked")
        assert not set(ids(free)) & set(ids(claimed))
        assert len(free) == 18 - 8
        assert len(queue.rows("select from tidemill._queues for no key update skip locked")) == 1


def test_what_is_left_alone(queue: Queue, lane: Lane) -> None:
    queue.add(run_at="2030-01-01", priority=-5)
    queue.add("other", priority=-5)
    queue.add(flags=["heavy"], priority=-5)
    failed = queue.add(priority=-5)
    queue.rows("select * from tidemill.permanently_fail_jobs(%s)", [[failed["id"]]])
    running = queue.add(priority=-5)
    assert ids(lane.claim(forbidden=["heavy"])) == [running["id"]]
    due = queue.add(flags=["light"], priority=5)
    assert ids(lane.claim("x", forbidden=["heavy", "slow"])) == [due["id"]]
    assert lane.claim("x", forbidden=["heavy"]) == []


@pytest.mark.parametrize("queue_name", [None, "q"])
def test_a_job_is_due_at_its_run_at(queue: Queue, queue_name: str | None) -> None:
    with queue.connection.transaction():
        # The time of this transaction.
        added = queue.add(queue_name=queue_name)
        assert queue.value("select state from tidemill.jobs") == "ready"
        assert ids(queue.claim()) == [added["id"]]


@pytest.mark.parametrize("forbidden", [None, []])
def test_no_forbidden_flag_forbids_none(queue: Queue, lane: Lane, forbidden: list[str] | None) -> None:
    queue.add(flags=["heavy"])
    queue.add()
    assert len(lane.claim(forbidden=forbidden)) == 2


@pytest.mark.parametrize("queued", [False, True])
def test_forbidden_and_unknown_heads_let_others_pass(queue: Queue, lane: Lane, queued: bool) -> None:
    name = "q" if queued else None
    queue.add("other", queue_name=name, priority=-1)
    queue.add(flags=["heavy"], queue_name=name, priority=-1)
    queue.add(run_at="2030-01-01", queue_name=name, priority=-1)
    due = queue.add(queue_name=name)
    assert ids(lane.claim(forbidden=["heavy"])) == [due["id"]]


def test_what_a_worker_may_not_run_takes_no_place_in_a_queue(queue: Queue, lane: Lane) -> None:
    queue.add("other", queue_name="q", priority=-1)
    queue.add(flags=["heavy"], queue_name="q", priority=-1)
    queue.add(run_at="2030-01-01", queue_name="q", priority=-1)
    due = queue.add(queue_name="q")
    assert ids(lane.claim(forbidden=["heavy"], per_queue=1)) == [due["id"]]


@pytest.mark.parametrize("tasks", [[], ["never added"]])
def test_a_worker_without_tasks_claims_nothing(queue: Queue, lane: Lane, tasks: list[str]) -> None:
    queue.add()
    queue.add(queue_name="q")
    assert lane.claim(tasks=tasks) == []
    assert queue.value("select count(*) from tidemill._queues where locked_by is not null") == 0
    assert len(lane.claim(tasks=[*tasks, "t"])) == 2


def test_a_worker_without_room_claims_nothing(queue: Queue, lane: Lane) -> None:
    queue.add()
    queue.add(queue_name="q")
    assert lane.claim(count=0) == []
    assert queue.value("select count(*) from tidemill._queues where locked_by is not null") == 0


# Named queues


def test_a_queue_is_held_as_a_whole(queue: Queue, lane: Lane) -> None:
    added = [queue.add(queue_name="q", priority=-number) for number in range(5)]
    claimed = lane.claim(per_queue=3)
    assert ids(claimed) == ids(reversed(added))[:3]
    assert {job["queue_name"] for job in claimed} == {"q"}
    assert lane.claim("x") == []
    # One added at its head must wait for those before it, too.
    urgent = queue.add(queue_name="q", priority=-9)
    assert lane.claim("x") == []
    lane.complete(claimed)
    assert ids(lane.claim("x")) == [urgent["id"], *ids(reversed(added))[3:]]


def test_a_queue_is_held_against_the_other_lane(queue: Queue, another: Callable[[], Queue]) -> None:
    added = [queue.add(queue_name="q") for _ in range(4)]
    batch = another()
    batch.connection.execute("begin")
    locked = batch.claim(express=True, quick=["t"], per_queue=1)
    assert ids(locked) == [added[0]["id"]]
    assert queue.claim() == []
    batch.close_batch(done=locked)
    batch.connection.execute("commit")
    leased = queue.claim(per_queue=1)
    assert ids(leased) == [added[1]["id"]]
    with batch.connection.transaction():
        assert batch.claim(express=True, quick=["t"]) == []


def test_a_leased_queue_stays_leased_until_it_is_given_back(queue: Queue) -> None:
    added = [queue.add(queue_name="q") for _ in range(2)]
    claimed = queue.claim(per_queue=1)
    row = queue.row("select * from tidemill._queues")
    assert (row["locked_by"], row["claim_token"]) == ("w", claimed[0]["claim_token"])
    queue.complete(claimed)
    assert queue.claim("x") == []
    queue.release(claimed, "x")
    queue.release([claimed[0] | {"claim_token": row["claim_token"] + 1}])
    assert queue.claim("x") == []
    queue.release(claimed)
    assert ids(queue.claim("x")) == [added[1]["id"]]


def test_order_inside_a_queue(queue: Queue, lane: Lane) -> None:
    added = [
        queue.add(queue_name="q", priority=1, run_at=past(9)),
        queue.add(queue_name="q", priority=0, run_at=past(1)),
        queue.add(queue_name="q", priority=0, run_at=past(5)),
        queue.add(queue_name="q", priority=0, run_at=past(5)),
    ]
    order = [added[2]["id"], added[3]["id"], added[1]["id"], added[0]["id"]]
    for job_id in order:
        jobs = lane.claim(per_queue=1)
        assert ids(jobs) == [job_id]
        lane.complete(jobs)


def test_queues_take_turns(queue: Queue, lane: Lane) -> None:
    for number in range(6):
        for _ in range(2):
            queue.add(queue_name=f"q{number}")
    turns = []
    after = 0
    for _ in range(3):
        claimed = lane.claim(count=2, per_queue=1, after_queue=after)
        turns.append([job["queue_name"] for job in claimed])
        after = max(job["queue_id"] for job in claimed)
    assert turns == [["q0", "q1"], ["q2", "q3"], ["q4", "q5"]]
    assert lane.claim(after_queue=after) == []
    assert lane.claim(after_queue=0) == []


def test_a_turn_begins_behind_the_queue_of_the_last_one(queue: Queue, lane: Lane) -> None:
    for name in ("p", "p", "q"):
        queue.add(queue_name=name)
    first = lane.claim(count=1, per_queue=1)
    lane.complete(first)
    [second] = lane.claim(count=1, after_queue=first[0]["queue_id"])
    assert (first[0]["queue_name"], second["queue_name"]) == ("p", "q")


def test_queues_and_single_jobs_take_turns_at_being_first(queue: Queue, lane: Lane) -> None:
    first = [queue.add(), queue.add(queue_name="p")]
    second = [queue.add(), queue.add(queue_name="q")]
    assert ids(lane.claim(count=1, queues_first=True)) == [first[1]["id"]]
    assert ids(lane.claim(count=1, queues_first=False)) == [first[0]["id"]]
    assert ids(lane.claim(count=2)) == ids(second)


def test_a_queue_whose_jobs_are_all_for_later_is_left_alone(queue: Queue, lane: Lane) -> None:
    queue.add(queue_name="q", run_at="2030-01-01")
    assert lane.claim() == []
    assert queue.value("select locked_by from tidemill._queues") is None


def test_a_held_queue_does_not_stop_the_others(queue: Queue, lane: Lane) -> None:
    for number in range(3):
        queue.add(queue_name=f"q{number}")
        queue.add(queue_name=f"q{number}")
    lane.claim(count=1, per_queue=1)
    assert [job["queue_name"] for job in lane.claim("x", count=9, per_queue=1)] == ["q1", "q2"]


def test_a_failed_job_lets_its_queue_go_on(queue: Queue, lane: Lane) -> None:
    first, second = queue.add(queue_name="q"), queue.add(queue_name="q")
    (job,) = lane.claim(per_queue=1)
    assert job["id"] == first["id"]
    if lane.express:
        batch = lane.batches[job["id"]]
        # It ended, so that its queue need not be held.
        batch.rows("select tidemill._settle_batch('w', 7, '{}', %s, '{}')", [[job["id"]]])
        batch.connection.execute("commit")
        job["claim_token"] = 7
    outcome = queue.fail([job])[job["id"]]
    queue.release([job])
    assert outcome["outcome"] == "retry"
    assert queue.kept(job["id"])["attempts"] == 1
    assert ids(lane.claim()) == [second["id"]]


# Which lane has which jobs


@pytest.mark.parametrize("all_quick", [False, True])
def test_the_lanes_share_the_jobs(queue: Queue, another: Callable[[], Queue], all_quick: bool) -> None:
    # Unknown tasks have no number.
    tasks, quick = ["t", "slow", "unknown"], ["t", "not ours", "unknown"]
    if all_quick:
        quick.append("slow")
    new, keyed, slow, tried = queue.add(), queue.add(job_key="k"), queue.add("slow"), queue.add()
    queue.add("not ours")
    queue.connection.execute("update tidemill._jobs set attempts = 1 where id = %s", [tried["id"]])
    batch = another()
    with batch.connection.transaction():
        locked = batch.claim(tasks=tasks, quick=quick, express=True)
        leased = queue.claim(tasks=tasks, quick=quick)
    assert ids(locked) == ids([new, slow] if all_quick else [new])
    assert ids(leased) == ids([keyed, tried] if all_quick else [keyed, slow, tried])
    assert [job["attempt"] for job in leased] == ([1, 2] if all_quick else [1, 1, 2])


def test_without_quick_tasks_the_express_lane_is_empty(queue: Queue) -> None:
    queue.add()
    queue.add(queue_name="q")
    with queue.connection.transaction():
        assert queue.claim(express=True) == []
        assert queue.claim(express=True, quick=["t"], tasks=["other"]) == []
    assert len(queue.claim()) == 2


@pytest.mark.parametrize("per_queue", [2, 3, 10])
def test_of_a_queue_each_lane_takes_the_run_at_its_head(
    queue: Queue, another: Callable[[], Queue], per_queue: int
) -> None:
    kinds: list[Row] = [{}, {}, {}, {"job_key": "k"}, {"job_key": "l"}, {}, {"identifier": "slow"}, {}]
    added = [queue.add(**{"identifier": "t", **kind}, queue_name="q") for kind in kinds]
    tasks, quick, worker = ["t", "slow"], ["t"], another()
    claims: list[tuple[str, list[int]]] = []
    while len(claims) < 20:
        for express in (True, False):
            with worker.connection.transaction():
                jobs = worker.claim(tasks=tasks, quick=quick, express=express, per_queue=per_queue)
                if jobs:
                    claims.append(("express" if express else "lease", ids(jobs)))
                    worker.close_batch(done=jobs)
                worker.release(jobs)
        if not queue.rows("select from tidemill._jobs"):
            break
    order = [job for _, jobs in claims for job in jobs]
    assert order == ids(added)
    by_lane = {job: lane for lane, jobs in claims for job in jobs}
    assert [by_lane[job] for job in order] == ["lease" if kind else "express" for kind in kinds]
    assert max(len(jobs) for _, jobs in claims) == min(3, per_queue)


def test_a_queue_whose_head_is_for_the_other_lane_is_passed_over(queue: Queue) -> None:
    queue.add(queue_name="p", job_key="k")
    queue.add(queue_name="p")
    head = queue.add(queue_name="q")
    with queue.connection.transaction(force_rollback=True):
        assert ids(queue.claim(express=True, quick=["t"])) == [head["id"]]
    assert [job["queue_name"] for job in queue.claim(quick=["t"])] == ["p"]


def test_what_is_unknown_to_the_worker_cuts_no_run(queue: Queue) -> None:
    added = [queue.add(queue_name="q"), queue.add("other", queue_name="q"), queue.add(queue_name="q")]
    with queue.connection.transaction():
        assert ids(queue.claim(express=True, quick=["t"])) == [added[0]["id"], added[2]["id"]]


# The end of an express batch


def test_a_batch_ends_in_one_write(queue: Queue, another: Callable[[], Queue]) -> None:
    singles = [queue.add() for _ in range(4)]
    queued = [queue.add(queue_name=name) for name in ("p", "p", "q", "r")]
    batch = another()
    with batch.connection.transaction():
        locked = batch.claim(express=True, quick=["t"])
        assert len(locked) == 8
        # Row locks are not to be seen.
        assert queue.rows("select distinct state from tidemill.jobs") == [{"state": "ready"}]
        batch.close_batch(
            token=77,
            done=[job for job in locked if job["id"] in (singles[0]["id"], queued[0]["id"])],
            started=[job for job in locked if job["id"] in (singles[1]["id"], queued[1]["id"])],
        )
    assert queue.stored(singles[0]["id"]) is None
    assert queue.stored(queued[0]["id"]) is None
    for job in (singles[1], queued[1]):
        row = queue.kept(job["id"])
        assert (row["attempts"], row["locked_by"], row["claim_token"]) == (1, "w", 77)
        assert row["locked_at"] > job["created_at"]
    for job in (singles[2], singles[3], queued[2], queued[3]):
        row = queue.kept(job["id"])
        assert (row["attempts"], row["locked_at"], row["locked_by"]) == (0, None, None)
    held = queue.rows("select queue_name, claim_token from tidemill._queues where locked_by = 'w'")
    assert held == [{"queue_name": "p", "claim_token": 77}]
    assert {job["id"] for job in queue.claim("x")} == {job["id"] for job in (*singles[2:], *queued[2:])}
    # Promoted jobs end as leased ones do.
    assert queue.complete([row | {"claim_token": 77} for row in (singles[1], queued[1])]) == {}


def test_an_empty_end_frees_everything(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.add()
    queue.add(queue_name="q")
    before = queue.rows("select * from tidemill._jobs order by id")
    batch = another()
    with batch.connection.transaction():
        assert len(batch.claim(express=True, quick=["t"])) == 2
        batch.close_batch()
    assert queue.rows("select * from tidemill._jobs order by id") == before
    assert len(queue.claim()) == 2


# Marks


@pytest.fixture
def rows_of_two_levels(queue: Queue) -> list[Row]:
    return [queue.add(priority=n % 2, run_at=past(9 - n)) for n in range(8)]


def behind(row: Row) -> tuple[int, Any, int]:
    return (row["priority"], row["run_at"], row["id"])


def test_a_marked_claim_finds_what_is_behind_its_marks(
    lane: Lane, queue: Queue, rows_of_two_levels: list[Row]
) -> None:
    rows = rows_of_two_levels
    marks = [behind(rows[4]), behind(rows[1])]
    found = lane.claim(marks=marks)
    assert ids(found) == ids([rows[6], rows[3], rows[5], rows[7]])
    lane.complete(found)
    # Before a mark nothing is seen, whatever happened there since.
    late = [queue.add(priority=0, run_at=past(20)), queue.add(priority=-3)]
    assert lane.claim(marks=marks) == []
    assert ids(lane.claim()) == ids([late[1], late[0], rows[0], rows[2], rows[4], rows[1]])


def test_a_level_without_a_mark_is_not_looked_at(lane: Lane, rows_of_two_levels: list[Row]) -> None:
    odd = [row for row in rows_of_two_levels if row["priority"] == 1]
    assert ids(lane.claim(marks=[(1, "-infinity", 0)])) == ids(odd)
    assert lane.claim(marks=[]) == []


def test_marks_go_by_their_own_order(lane: Lane, rows_of_two_levels: list[Row]) -> None:
    rows = rows_of_two_levels
    found = lane.claim(count=3, marks=[(0, rows[2]["run_at"], 0), (1, rows[0]["run_at"], 0)])
    # A place is run_at and then id: with id 0, the row at that time is still to come.
    assert ids(found) == ids([rows[2], rows[4], rows[6]])


def test_marks_do_not_hide_named_queues(lane: Lane, queue: Queue) -> None:
    added = queue.add(queue_name="q")
    assert ids(lane.claim(marks=[])) == [added["id"]]


def test_the_last_row_tells_until_when_was_looked(queue: Queue) -> None:
    queue.add()
    with queue.connection.transaction():
        rows = queue.rows(
            "select id, run_at = now() as is_now from tidemill._lock_jobs"
            "(array['t'], array['t'], true, 5, null, null, null, null)"
        )
        assert [(row["id"] is None, row["is_now"]) for row in rows][-1] == (True, True)
        assert [row["id"] is None for row in rows] == [False, True]
        leased = queue.rows(
            "select id, run_at = now() as is_now from tidemill._claim_jobs"
            "('w', array['t'], '{}', 5, null, null, null, null)"
        )
        assert [(row["id"] is None, row["is_now"]) for row in leased][-1] == (True, True)
