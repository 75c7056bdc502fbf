"""Jobs that were claimed ahead: until their worker may start them, a claim has cost them nothing."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.calls import Queue, Row

OTHER = "heir"


class Ahead:
    """Claims of one worker, which start `now` jobs at once and the others in groups of `size`."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.register("w")

    def register(self, worker: str) -> None:
        self.queue.rows(
            "select tidemill._register_worker(%s, 'here', 1, '0', 2, array['t'], '1 hour')", [worker]
        )

    def claim(self, now: int, size: int) -> list[Row]:
        return self.queue.rows(
            "select * from tidemill._claim_jobs('w', array['t'], '{}', 100, null, null, null, null,"
            " start_now => %s, group_size => %s) where id is not null order by id",
            [now, size],
        )

    def claim_queues(self, now: int, size: int, per_queue: int) -> list[Row]:
        return self.queue.rows(
            "select * from tidemill._claim_queued_jobs('w', array['t'], '{}', 100, null, 0, %s,"
            " start_now => %s, group_size => %s) where id is not null",
            [per_queue, now, size],
        )

    def start(self, token: int, worker: str = "w") -> bool:
        return bool(self.queue.value("select tidemill._start_jobs(%s, %s)", [worker, token]))

    def give_back(self, rows: list[Row]) -> list[Row]:
        ids, tokens = [row["id"] for row in rows], [row["claim_token"] for row in rows]
        return self.queue.rows(
            "select * from tidemill._return_jobs('w', %s::bigint[], %s::bigint[])", [ids, tokens]
        )

    def unlock(self) -> None:
        self.queue.rows("select tidemill.force_unlock_workers(array['w'])")

    def attempts(self) -> list[int]:
        return [row["attempts"] for row in self.queue.rows("select attempts from tidemill.jobs order by id")]

    def unstarted(self) -> int:
        return int(self.queue.value("select count(*) from tidemill._unstarted"))


@pytest.fixture
def ahead(queue: Queue) -> Ahead:
    return Ahead(queue)


def sizes(rows: list[Row]) -> list[int]:
    """How many jobs have each claim token, in the order of the tokens."""
    tokens = [row["claim_token"] for row in rows]
    return [tokens.count(token) for token in sorted(set(tokens))]


@pytest.mark.parametrize(
    ("now", "size", "expected"),
    [
        (3, 2, [3, 2, 2]),
        (0, 3, [3, 3, 1]),
        (7, 1, [7]),
        (2_147_483_647, 1, [7]),
        (6, 10, [6, 1]),
    ],
)
def test_groups_of_single_jobs(ahead: Ahead, now: int, size: int, expected: list[int]) -> None:
    for _ in range(7):
        ahead.queue.add()
    rows = ahead.claim(now, size)
    assert sizes(rows) == expected
    # In the order of claims: those that start now have the first token.
    assert [row["claim_token"] for row in rows] == sorted(row["claim_token"] for row in rows)
    assert ahead.attempts() == [1] * min(now, 7) + [0] * (7 - min(now, 7))


def test_a_claim_of_an_older_worker_starts_at_once(ahead: Ahead) -> None:
    ahead.queue.add()
    ahead.queue.add(queue_name="q")
    ahead.queue.rows("select tidemill._claim_jobs('w', array['t'], '{}', 9, null, null, null, null)")
    ahead.queue.rows("select tidemill._claim_queued_jobs('w', array['t'], '{}', 9, null, 0, 5)")
    assert (ahead.attempts(), ahead.unstarted()) == ([1, 1], 0)


def test_the_jobs_of_a_queue_stay_together(ahead: Ahead) -> None:
    for queue_name, count in [("a", 3), ("b", 2), ("c", 4), ("d", 1)]:
        for _ in range(count):
            ahead.queue.add(queue_name=queue_name)
    rows = ahead.claim_queues(3, 4, 4)
    by_queue: dict[str, set[int]] = {}
    for row in rows:
        by_queue.setdefault(row["queue_name"], set()).add(row["claim_token"])
    assert all(len(tokens) == 1 for tokens in by_queue.values())
    # Three start at once; two and four do not fit into four, and one more does not either.
    assert sizes(rows) == [3, 2, 4, 1]
    held = ahead.queue.rows("select queue_name, claim_token from tidemill._queues order by id")
    assert {row["queue_name"]: {row["claim_token"]} for row in held} == by_queue


def test_what_starts_has_spent_its_attempt(ahead: Ahead) -> None:
    for _ in range(4):
        ahead.queue.add(max_attempts=1)
    first, _, third, _ = ahead.claim(2, 2)
    assert ahead.start(third["claim_token"])
    # Asked again, over a new connection perhaps: it cannot be told from a lease that is gone.
    assert not ahead.start(third["claim_token"])
    assert not ahead.start(first["claim_token"])
    ahead.unlock()
    assert [row["state"] for row in ahead.queue.rows("select state from tidemill.jobs")] == ["failed"] * 4


def test_what_did_not_start_goes_back_as_it_was(ahead: Ahead) -> None:
    for _ in range(3):
        ahead.queue.add(max_attempts=1)
    before = ahead.queue.rows("select * from tidemill.jobs order by id")
    rows = ahead.claim(0, 2)
    ahead.unlock()
    assert ahead.queue.rows("select * from tidemill.jobs order by id") == before
    assert ahead.unstarted() == 0
    assert not ahead.start(rows[0]["claim_token"])


def test_a_worker_whose_lease_was_taken_away_starts_nothing(
    ahead: Ahead, connection: psycopg.Connection, database: str
) -> None:
    held, other = ahead.queue.add(max_attempts=1, job_key="held"), ahead.queue.add(max_attempts=1)
    (row, _) = ahead.claim(0, 2)
    with psycopg.connect(database) as producer:
        # A sweep passes over the row that a producer holds.
        producer.execute("select from tidemill._jobs where id = %s for update", [held["id"]])
        ahead.unlock()
        assert ahead.queue.rows("select id, locked_by from tidemill._jobs order by id") == [
            {"id": held["id"], "locked_by": "w"},
            {"id": other["id"], "locked_by": None},
        ]
        assert not ahead.start(row["claim_token"])
    ahead.unlock()
    assert (ahead.attempts(), ahead.unstarted()) == ([0, 0], 0)
    assert {row["state"] for row in ahead.queue.rows("select state from tidemill.jobs")} == {"ready"}


def test_nobody_else_starts_them(ahead: Ahead) -> None:
    ahead.queue.add()
    ahead.register(OTHER)
    (row,) = ahead.claim(0, 1)
    assert not ahead.start(row["claim_token"], OTHER)
    assert ahead.start(row["claim_token"])


@pytest.mark.parametrize("way", ["freed", "given back"])
@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_what_was_withdrawn_before_it_started_is_gone(ahead: Ahead, how: str, way: str) -> None:
    old = ahead.queue.add(job_key="k", max_attempts=1)
    rows = ahead.claim(0, 1)
    if how == "replaced":
        ahead.queue.add(job_key="k", max_attempts=1)
    else:
        ahead.queue.value("select (tidemill.remove_job('k')).id")
    if way == "freed":
        ahead.unlock()
    else:
        assert ahead.give_back(rows) == []
    left = ahead.queue.rows("select id, state, key from tidemill.jobs")
    assert old["id"] not in [row["id"] for row in left]
    assert [(row["state"], row["key"]) for row in left] == ([("ready", "k")] if how == "replaced" else [])


def test_what_was_cancelled_before_it_started_had_no_attempt(ahead: Ahead) -> None:
    job = ahead.queue.add()
    ahead.claim(0, 1)
    [shown] = ahead.queue.rows("select * from tidemill.cancel_jobs(array[%s])", [job["id"]])
    assert (shown["state"], shown["attempts"]) == ("running", 0)
    ahead.unlock()
    [left] = ahead.queue.rows("select state, attempts from tidemill.jobs")
    assert (left["state"], left["attempts"]) == ("cancelled", 0)


def test_a_group_that_is_given_back_leaves_nothing(ahead: Ahead) -> None:
    for _ in range(2):
        ahead.queue.add()
    rows = ahead.claim(0, 2)
    assert ahead.give_back(rows) == []
    assert (ahead.attempts(), ahead.unstarted()) == ([0, 0], 0)


def test_a_worker_that_stops_leaves_nothing(ahead: Ahead) -> None:
    # As after a crash that has undone the last starts, whose jobs have ended since.
    ahead.queue.connection.execute("insert into tidemill._unstarted values (-1, 'w'), (-2, 'other')")
    ahead.queue.rows("select tidemill._deregister_worker('w')")
    assert ahead.queue.rows("select worker_id from tidemill._unstarted") == [{"worker_id": "other"}]
