"""Limits in SQL: which jobs have one, what a claim takes, and that no gate is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import pytest

from tests.sql.calls import Queue, Row, ids, refused, spec
from tests.sql.limited import age, claim, declare, limit, visits, walk


def shown(queue: Queue) -> Row:
    return queue.row("select * from tidemill.limits")


# Setting


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("concurrency => 0", ["concurrency 0", "below 1", "pause"]),
        ("concurrency => -1", ["concurrency -1"]),
        ("rate => 0, period => '1 minute'", ["rate 0", "period longer"]),
        ("rate => 5", ["rate 5 without a period", "period => '1 minute'"]),
        ("period => '1 minute'", ["without a rate"]),
        ("rate => 5, period => '0'", ["period 00:00:00", "a millisecond"]),
        ("rate => 5, period => '1 s', burst => 0", ["burst 0"]),
        ("concurrency => 5, burst => 3", ["burst without a rate"]),
        ("per => 'a'", ["limits nothing", "remove_limit"]),
        ("concurrency => 5, per => 'a..b'", ['per "a..b"', "customer.id"]),
        ("concurrency => 5, per => ''", ['per ""']),
    ],
)
def test_limits_that_cannot_be_meant(queue: Queue, values: LiteralString, words: list[str]) -> None:
    with refused("22023", 'limit "l"', *words):
        queue.rows(f"select tidemill.set_limit('l', {values})".encode())


def test_names_that_cannot_be_meant(queue: Queue) -> None:
    for name in (None, "", "x" * 129):
        with refused("22023", "the name of a limit"):
            queue.rows("select tidemill.set_limit(%s, 5)", [name])
    with refused("22023", 'no limit "l"', "tidemill.limits"):
        queue.rows("select tidemill.remove_limit('l')")


def test_what_is_set_is_shown(queue: Queue) -> None:
    limit(queue, concurrency=5)
    limit(queue, rate=100, period="1 minute", per="a.b")
    queue.add(limit_name="l", payload={"a": {"b": 1}})
    row = shown(queue)
    assert row.pop("changed_at")
    assert row == {
        "name": "l",
        "task": None,
        "concurrency": None,
        "rate": 100,
        "period": timedelta(minutes=1),
        "burst": 100,
        "per": "a.b",
        "in_use": 0,
        "waiting": 1,
        "tasks": ["t"],
    }
    claim(queue)
    assert (shown(queue)["in_use"], shown(queue)["waiting"]) == (1, 0)


# Adding


def test_jobs_that_are_refused(queue: Queue) -> None:
    limit(queue, concurrency=1, per="a.b")
    limit(queue, "m", concurrency=1)
    with refused("22023", 'no limit "nobody"', "set_limit('nobody'"):
        queue.add(limit_name="nobody")
    for payload, words in [
        ({}, "lacks"),
        ({"a": 1}, "lacks"),
        ([{"a": {"b": 1}}], "lacks"),
        ({"a": {"b": None}}, "null in"),
        ({"a": {"b": {}}}, "object in"),
        ({"a": {"b": [1]}}, "array in"),
    ]:
        with refused("22023", words, '"a.b"', 'task "t"', "`per`"):
            queue.add(limit_name="l", payload=payload)
    with refused("22023", 'named queue "q"', "leave queue_name out"):
        queue.add(limit_name="m", queue_name="q")
    declare(queue, t={"concurrency": 3})
    with refused("22023", 'task "t" has a limit of its own', '"m"'):
        queue.add(limit_name="m")
    with refused("22023", "(spec 2)", "lacks"):
        queue.add_many([spec("u", payload={"a": {"b": 1}}), spec("u")], limit_names=["l", "l"])
    with refused("22023", "2 entries for 1 specs"):
        queue.add_many([spec("u")], limit_names=[None, "m"])
    assert queue.rows("select from tidemill._jobs") == []


def add_each_way(queue: Queue, **named: Any) -> list[Row]:
    names = [named["limit_name"]] if "limit_name" in named else None
    bulk: dict[str, Any] = {"limit_names": names} if names else {}
    two: dict[str, Any] = {"limit_names": [*names, None]} if names else {}
    jobs = [queue.add(**named), queue.add(job_key="k", **named), queue.add(job_key="k", **named)]
    jobs += queue.add_many([spec()], **bulk) + queue.add_many([spec(job_key="l")], **bulk)
    jobs += queue.add_many([spec(), spec("other")], **two)[:1]
    return [job for n, job in enumerate(jobs) if n != 1]


@pytest.mark.parametrize("own", [True, False], ids=["the task's own", "named"])
def test_whoever_adds_a_job_it_has_the_limit(queue: Queue, own: bool) -> None:
    if own:
        declare(queue, t={"concurrency": 50})
        jobs = add_each_way(queue)
    else:
        limit(queue, concurrency=50)
        jobs = add_each_way(queue, limit_name="l")
    assert queue.claim() == []
    assert ids(claim(queue)) == sorted(ids(jobs))


def test_a_value_is_one_key_however_it_is_written(queue: Queue) -> None:
    limit(queue, concurrency=1, per="c")
    for value in (1, "1", True, "a", 1.5):
        queue.add(limit_name="l", payload={"c": value})
    assert [job["payload"] for job in claim(queue)] == ['{"c": 1}', '{"c": true}', '{"c": "a"}', '{"c": 1.5}']


def test_a_keyed_add_moves_a_job_to_its_new_gate(queue: Queue) -> None:
    limit(queue, concurrency=1, per="c")
    queue.add(limit_name="l", payload={"c": 1})
    keyed = queue.add(limit_name="l", payload={"c": 1}, job_key="k")
    assert len(claim(queue)) == 1
    queue.add(limit_name="l", payload={"c": 2}, job_key="k")
    assert ids(claim(queue)) == [keyed["id"]]
    queue.add(job_key="m")
    queue.add(job_key="n", limit_name="l", payload={"c": 3})
    queue.add(job_key="n", payload={"c": 3})
    assert len(queue.claim()) == 2


# Claiming


def test_no_more_are_claimed_than_are_free(queue: Queue) -> None:
    limit(queue, concurrency=2)
    jobs = [queue.add(limit_name="l", priority=-n % 3) for n in range(6)]
    order = ids(sorted(jobs, key=lambda job: (job["priority"], job["id"])))
    first = claim(queue)
    assert ids(first) == order[:2]
    assert {job["claim_token"] for job in first} == {first[0]["claim_token"]}
    assert claim(queue) == claim(queue, "x") == []
    queue.complete(first[:1])
    assert ids(claim(queue)) == order[2:3]
    limit(queue, concurrency=1)
    queue.complete(first[1:])
    assert claim(queue) == []
    limit(queue, concurrency=9)
    assert ids(claim(queue)) == order[3:]


def test_each_key_has_the_limit_and_gates_take_turns(queue: Queue) -> None:
    limit(queue, concurrency=3, per="c")
    jobs = [queue.add(limit_name="l", payload={"c": n % 3}) for n in range(15)]
    claimed = [ids(claim(queue, count=4)) for _ in range(4)]
    assert sorted(job for part in claimed for job in part) == ids(jobs[:9])
    assert [len(part) for part in claimed] == [4, 4, 1, 0]


def test_a_task_with_many_gates_keeps_no_other_waiting(queue: Queue) -> None:
    limit(queue, "many", concurrency=9, per="c")
    limit(queue, "one", concurrency=1)
    for key in range(200):
        queue.add("t", limit_name="many", payload={"c": key % 20})
    queue.add("u", limit_name="one")
    taken = {
        job["identifier"]
        for _ in range(60)
        for job in claim(queue, tasks=["t", "u"], count=2, most_visits=10)
    }
    # By chance a task may wait for some claims, but not for all of them.
    assert taken == {"t", "u"}


def test_tasks_share_a_limit_in_the_order_of_their_jobs(queue: Queue) -> None:
    limit(queue, concurrency=3)
    jobs = [queue.add(task, limit_name="l") for task in ("t", "u", "t", "u", "t", "u")]
    assert ids(claim(queue, tasks=["u"], count=1)) == ids(jobs[1:2])
    held = claim(queue, tasks=["t", "u"])
    assert ids(held) == [jobs[0]["id"], jobs[2]["id"]]
    assert claim(queue, tasks=["u"]) == claim(queue, tasks=["t"]) == []
    queue.complete(held)
    # Its end is told to both tasks.
    assert ids(claim(queue, tasks=["u"])) == [jobs[3]["id"], jobs[5]["id"]]


def test_jobs_for_later_and_forbidden_ones_hold_nobody_up(queue: Queue) -> None:
    limit(queue, concurrency=5)
    queue.add(limit_name="l", priority=-5, run_at=datetime.now(UTC) + timedelta(hours=1))
    heavy = queue.add(limit_name="l", priority=-3, flags=["heavy"])
    job = queue.add(limit_name="l")
    assert ids(claim(queue, forbidden=["heavy"])) == [job["id"]]
    assert claim(queue) == []
    # It was put back for another worker, a second later.
    age(queue, 1)
    assert ids(claim(queue)) == [heavy["id"]]


def test_what_is_claimed_ahead_has_tokens_of_its_own(queue: Queue) -> None:
    limit(queue, concurrency=9)
    for _ in range(6):
        queue.add(limit_name="l")
    rows = queue.rows("select * from tidemill._claim_limited_jobs('w', '{t}', 6, null, 1, 2)")[:6]
    tokens = [row["claim_token"] for row in rows]
    assert [tokens.index(token) for token in tokens] == [0, 1, 1, 3, 3, 5]
    waiting = queue.rows("select claim_token from tidemill._unstarted order by 1")
    assert [row["claim_token"] for row in waiting] == [tokens[1], tokens[3], tokens[5]]


def test_a_claim_does_not_take_too_many_bytes(queue: Queue) -> None:
    limit(queue, concurrency=9)
    for _ in range(4):
        queue.rows("select from tidemill.add_job('t', to_json(repeat('x', 5000000)), limit_name => 'l')")
    assert [len(claim(queue)) for _ in range(3)] == [2, 2, 0]


# Rates


def test_a_bucket_is_emptied_and_filled(queue: Queue) -> None:
    limit(queue, rate=60, period="1 minute", burst=3)
    for _ in range(20):
        queue.add(limit_name="l")
    assert len(claim(queue)) == 3
    assert claim(queue) == []
    age(queue, 2.5)
    assert len(claim(queue)) == 2
    # Half a token was left.
    age(queue, 0.6)
    assert len(claim(queue)) == 1
    # It holds three, however long nothing came; a job that comes back has spent its token.
    age(queue, 3600)
    held = claim(queue)
    assert len(held) == 3
    queue.give_back(held)
    assert claim(queue) == []


def test_a_rate_and_a_concurrency_hold_together(queue: Queue) -> None:
    limit(queue, concurrency=2, rate=60, period="1 minute", burst=3)
    for _ in range(9):
        queue.add(limit_name="l")
    held = claim(queue)
    assert len(held) == 2
    queue.complete(held)
    assert len(claim(queue)) == 1
    age(queue, 60)
    assert len(claim(queue)) == 1


def test_a_bucket_fills_after_the_clock_was_put_back(queue: Queue) -> None:
    limit(queue, rate=1, period="1 second", burst=1)
    for _ in range(3):
        queue.add(limit_name="l")
    assert len(claim(queue)) == 1
    age(queue, -3600)
    assert claim(queue) == []
    # Nothing visits it before the clock has caught up; the walk does.
    walk(queue)
    assert claim(queue) == []
    age(queue, 1.1)
    walk(queue)
    assert len(claim(queue)) == 1


def test_why_a_gate_holds_jobs_up(queue: Queue) -> None:
    limit(queue, concurrency=2, rate=60, period="1 minute", burst=2)
    gate = "select gate_id from tidemill._jobs limit 1"
    for _ in range(3):
        queue.add(limit_name="l")
    state = queue.row(f"select * from tidemill._gate_state(({gate}))".encode())
    assert (state["limit_name"], state["in_use"], state["holders"], state["next_token"]) == (
        "l",
        0,
        None,
        None,
    )
    held = claim(queue)
    state = queue.row(f"select *, next_token > now() as later from tidemill._gate_state(({gate}))".encode())
    assert (state["concurrency"], state["in_use"], state["holders"]) == (2, 2, ids(held))
    assert state["later"]
    queue.rows("select tidemill.remove_limit('l')")
    assert queue.row(f"select * from tidemill._gate_state(({gate}))".encode())["limit_name"] is None


# No gate is forgotten


def back_by_sweep(queue: Queue, held: list[Row]) -> None:
    queue.register()
    queue.expire()
    queue.rows("select * from tidemill._sweep_leases()")


ENDS: dict[str, Callable[[Queue, list[Row]], object]] = {
    "done": Queue.complete,
    "failed": lambda queue, held: queue.fail(held, delay=timedelta(hours=1)),
    "failed for good": lambda queue, held: queue.fail(held, permanent=True),
    "given back": Queue.give_back,
    "of a lost worker": back_by_sweep,
    "unlocked": lambda queue, held: queue.rows("select tidemill.force_unlock_workers('{w}')"),
    "unknown": lambda queue, held: queue.rows("select tidemill._return_unknown_jobs('w', '{}')"),
}


@pytest.mark.parametrize("end", ENDS)
def test_each_end_lets_the_next_job_start(queue: Queue, end: str) -> None:
    limit(queue, concurrency=1)
    queue.add(limit_name="l")
    queue.add("u", limit_name="l")
    held = claim(queue)
    assert claim(queue, tasks=["t", "u"]) == []
    assert visits(queue) == 0
    ENDS[end](queue, held)
    assert len(claim(queue, tasks=["u", "t"], count=1)) == 1


def test_what_is_retried_or_rescheduled_is_visited_when_it_is_due(queue: Queue) -> None:
    limit(queue, concurrency=5)
    job = queue.add(limit_name="l")
    queue.fail(claim(queue), delay=timedelta(hours=1))
    assert claim(queue) == []
    queue.rows("select * from tidemill.reschedule_jobs(%s, run_at => now())", [[job["id"]]])
    assert ids(claim(queue)) == [job["id"]]


def test_a_removed_limit_holds_nobody_up(queue: Queue) -> None:
    limit(queue, concurrency=1, per="c")
    for _ in range(3):
        queue.add(limit_name="l", payload={"c": 1})
    assert len(claim(queue)) == 1
    queue.rows("select tidemill.remove_limit('l')")
    assert queue.rows("select * from tidemill.limits") == []
    with refused("22023", 'no limit "l"'):
        queue.add(limit_name="l")
    walk(queue)
    assert len(claim(queue)) == 2
    limit(queue, concurrency=3)
    assert (shown(queue)["in_use"], shown(queue)["per"]) == (3, None)


def test_the_walk_finds_what_was_forgotten(queue: Queue) -> None:
    limit(queue, concurrency=1, per="c")
    for n in range(30):
        queue.add(limit_name="l", payload={"c": n % 10})
    held = claim(queue, count=5)
    # As after a crash of the server.
    queue.connection.execute("truncate tidemill._visits")
    walk(queue, ["u"])
    assert visits(queue) == 0
    walk(queue)
    walk(queue)
    assert visits(queue) == 5
    assert len(claim(queue, count=50)) == 5
    queue.complete(held)
    assert len(claim(queue, count=50)) == 5


def test_the_walk_removes_gates_that_nobody_needs(queue: Queue) -> None:
    limit(queue, concurrency=5, rate=1, period="1 hour", burst=2, per="c")
    for n in (1, 2, 2, 2):
        queue.add(limit_name="l", payload={"c": n})
    held = claim(queue)
    assert len(held) == 3
    queue.complete(held)
    walk(queue)
    assert queue.value("select count(*) from tidemill._gates") == 2
    age(queue, 2 * 3600)
    walk(queue)
    # One has a job that waits.
    assert queue.value("select count(*) from tidemill._gates") == 1


# Limits of tasks


def test_tasks_get_the_limits_of_their_code(queue: Queue) -> None:
    assert declare(queue, t=None, u=None) == []
    assert declare(queue, t={"concurrency": 5, "field": "c"}, u=None) == [
        {"identifier": "t", "was": None, "becomes": "5 at once, per c", "waits_for": None}
    ]
    assert declare(queue, t={"concurrency": 5, "field": "c"}) == []
    assert (shown(queue)["name"], shown(queue)["task"]) == ("t", "t")
    queue.add(payload={"c": 1})
    limit(queue, concurrency=3)
    (changed,) = declare(queue, t={"name": "l"})
    assert changed["becomes"] == 'the limit "l", 3 at once'
    assert declare(queue, t={"name": "l"}) == []
    # What waits goes with the task to its new limit.
    assert queue.value("select tidemill._gate_waiting('{t}')")
    assert (shown(queue)["name"], shown(queue)["waiting"]) == ("l", 1)
    (changed,) = declare(queue, t={"rate": 100, "period": "60 seconds", "burst": 7})
    assert changed["becomes"] == "100 in 00:01:00 (burst 7)"
    (changed,) = declare(queue, t=None)
    assert (changed["was"], changed["becomes"]) == ("100 in 00:01:00 (burst 7)", None)
    queue.add()
    assert len(queue.claim()) == 1
    with refused("22023", 'task "t" has the limit "nobody"', "set_limit"):
        declare(queue, t={"name": "nobody"})
    with refused("22023", 'the limit of task "t"', "below 1"):
        declare(queue, t={"concurrency": 0})


def test_jobs_that_were_there_before_get_the_limit(queue: Queue) -> None:
    queue.add_many([spec(payload={"c": 1}), spec(payload={"c": 1}), spec(payload={"c": 2}), spec(), spec()])
    queue.add(queue_name="q")
    queue.add("u")
    running = queue.claim(count=1, queues_first=False)
    declare(queue, t={"concurrency": 1, "field": "c"})
    while queue.value("select tidemill._gate_waiting('{t,u}', 2)"):
        pass
    # The first one of customer 1 runs; those without a customer have a gate together.
    assert ids(claim(queue)) == [3, 4]
    assert sorted(ids(queue.claim(tasks=["t", "u"]))) == [6, 7]
    queue.complete(running)
    assert ids(claim(queue)) == [2]
