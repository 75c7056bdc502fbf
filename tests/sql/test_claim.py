"""_claim_jobs: which jobs, in which order, and what a lease is."""

from __future__ import annotations

import pytest

from tests.sql.calls import Queue, Row, ids


def past(seconds: int) -> str:
    return f"2020-01-01 00:00:{59 - seconds:02}+00"


def test_a_lease(queue: Queue) -> None:
    added = queue.add(payload={"a": 1}, job_key="k", flags=["f"], priority=2, max_attempts=3)
    (job,) = queue.claim()
    now = queue.kept(added["id"])
    assert job == {
        "id": added["id"],
        "identifier": "t",
        "queue_id": None,
        "queue_name": None,
        "payload": '{"a": 1}',
        "priority": 2,
        "run_at": added["run_at"],
        "attempts": 1,
        "max_attempts": 3,
        "created_at": added["created_at"],
        "key": "k",
        "revision": 0,
        "flags": ["f"],
        "claim_token": now["claim_token"],
    }
    assert (now["locked_by"], now["attempts"], now["updated_at"]) == ("w", 1, added["updated_at"])
    assert queue.value("select now() - locked_at < interval '1 minute' from tidemill._jobs")
    assert queue.value("select state from tidemill.jobs") == "running"


def test_each_claim_has_a_token_of_its_own(queue: Queue) -> None:
    for _ in range(4):
        queue.add()
    one, two = queue.claim(count=2), queue.claim(count=2)
    assert len({job["claim_token"] for job in one}) == 1
    assert one[0]["claim_token"] < two[0]["claim_token"] == two[1]["claim_token"]


def test_the_most_urgent_come_first(queue: Queue) -> None:
    wanted: list[Row] = []
    for priority in (-3, 0, 0, 5):
        for seconds in (9, 4, 4):
            wanted.append(queue.add(priority=priority, run_at=past(seconds)))
    expected = [
        job["id"] for job in sorted(wanted, key=lambda job: (job["priority"], job["run_at"], job["id"]))
    ]
    claimed = [job for _ in range(3) for job in ids(queue.claim(count=5))]
    assert claimed == expected


def test_what_is_left_alone(queue: Queue) -> None:
    queue.add(run_at="2030-01-01", priority=-5)
    queue.add("other", priority=-5)
    queue.add(flags=["heavy"], priority=-5)
    failed = queue.add(priority=-5)
    queue.rows("select * from tidemill.permanently_fail_jobs(%s)", [[failed["id"]]])
    queue.add(priority=-5)
    (running,) = queue.claim(forbidden=["heavy"])
    due = queue.add(flags=["light"], priority=5)
    assert ids(queue.claim("x", forbidden=["heavy", "slow"])) == [due["id"]]
    assert queue.claim("x", forbidden=["heavy"]) == []
    assert queue.kept(running["id"])["locked_by"] == "w"


@pytest.mark.parametrize("forbidden", [None, []])
def test_no_forbidden_flag_forbids_none(queue: Queue, forbidden: list[str] | None) -> None:
    queue.add(flags=["heavy"])
    queue.add()
    assert len(queue.claim(forbidden=forbidden)) == 2


@pytest.mark.parametrize("queued", [False, True])
def test_forbidden_and_unknown_heads_let_others_pass(queue: Queue, queued: bool) -> None:
    name = "q" if queued else None
    queue.add("other", queue_name=name, priority=-1)
    queue.add(flags=["heavy"], queue_name=name, priority=-1)
    queue.add(run_at="2030-01-01", queue_name=name, priority=-1)
    due = queue.add(queue_name=name)
    assert ids(queue.claim(forbidden=["heavy"])) == [due["id"]]


def test_a_worker_without_tasks_claims_nothing(queue: Queue) -> None:
    queue.add()
    queue.add(queue_name="q")
    assert queue.claim(tasks=[]) == []
    assert queue.value("select count(*) from tidemill._queues where locked_by is not null") == 0


def test_a_worker_without_room_claims_nothing(queue: Queue) -> None:
    queue.add()
    queue.add(queue_name="q")
    assert queue.claim(count=0) == []


# Named queues


def test_a_queue_is_leased_as_a_whole(queue: Queue) -> None:
    added = [queue.add(queue_name="q", priority=-number) for number in range(5)]
    claimed = queue.claim(per_queue=3)
    assert ids(claimed) == ids(reversed(added))[:3]
    assert {job["queue_name"] for job in claimed} == {"q"}
    row = queue.row("select * from tidemill._queues")
    assert (row["locked_by"], row["claim_token"]) == ("w", claimed[0]["claim_token"])
    assert queue.claim("x") == []
    # Done with its jobs, the worker still holds the queue until it gives it back.
    queue.complete(claimed)
    assert queue.claim("x") == []
    lease = [[row["id"]], [row["claim_token"]]]
    queue.rows("select from tidemill._release_queues('x', %s, %s)", lease)
    queue.rows("select from tidemill._release_queues('w', %s, %s)", [[row["id"]], [row["claim_token"] + 1]])
    assert queue.claim("x") == []
    queue.rows("select from tidemill._release_queues('w', %s, %s)", lease)
    assert ids(queue.claim("x")) == ids(reversed(added))[3:]


def test_order_inside_a_queue(queue: Queue) -> None:
    added = [
        queue.add(queue_name="q", priority=1, run_at=past(9)),
        queue.add(queue_name="q", priority=0, run_at=past(1)),
        queue.add(queue_name="q", priority=0, run_at=past(5)),
        queue.add(queue_name="q", priority=0, run_at=past(5)),
    ]
    order = [added[2]["id"], added[3]["id"], added[1]["id"], added[0]["id"]]
    for job_id in order:
        (job,) = queue.claim(per_queue=1)
        assert job["id"] == job_id
        queue.complete([job])
        queue.rows(
            "select from tidemill._release_queues('w', %s, %s)", [[job["queue_id"]], [job["claim_token"]]]
        )


def test_queues_take_turns(queue: Queue) -> None:
    for number in range(6):
        for _ in range(2):
            queue.add(queue_name=f"q{number}")
    turns = []
    after = 0
    for _ in range(3):
        claimed = queue.claim(count=2, per_queue=1, after_queue=after)
        turns.append([job["queue_name"] for job in claimed])
        after = max(job["queue_id"] for job in claimed)
    assert turns == [["q0", "q1"], ["q2", "q3"], ["q4", "q5"]]
    assert queue.claim(after_queue=after) == []
    assert queue.claim(after_queue=0) == []


def test_queues_and_single_jobs_take_turns_at_being_first(queue: Queue) -> None:
    single, queued = queue.add(), queue.add(queue_name="q")
    with queue.connection.transaction(force_rollback=True):
        assert ids(queue.claim(count=1, queues_first=True)) == [queued["id"]]
    with queue.connection.transaction(force_rollback=True):
        assert ids(queue.claim(count=1, queues_first=False)) == [single["id"]]
    assert ids(queue.claim(count=2)) == [single["id"], queued["id"]]


def test_a_queue_whose_jobs_are_all_for_later_is_not_leased(queue: Queue) -> None:
    queue.add(queue_name="q", run_at="2030-01-01")
    assert queue.claim() == []
    assert queue.value("select locked_by from tidemill._queues") is None


def test_a_leased_queue_does_not_stop_the_others(queue: Queue) -> None:
    for number in range(3):
        queue.add(queue_name=f"q{number}")
        queue.add(queue_name=f"q{number}")
    queue.claim(count=1, per_queue=1)
    assert [job["queue_name"] for job in queue.claim("x", count=9, per_queue=1)] == ["q1", "q2"]


def test_a_failed_job_lets_its_queue_go_on(queue: Queue) -> None:
    first, second = queue.add(queue_name="q"), queue.add(queue_name="q")
    (job,) = queue.claim(per_queue=1)
    assert job["id"] == first["id"]
    queue.fail([job])
    queue.rows("select from tidemill._release_queues('w', %s, %s)", [[job["queue_id"]], [job["claim_token"]]])
    assert ids(queue.claim()) == [second["id"]]
