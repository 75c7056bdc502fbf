"""Pauses of tasks, named queues, and everything: what a claim leaves alone, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sql.calls import Queue, ids, refused
from tests.support.waiting import wait_until


def pause(queue: Queue, kind: str, name: str | None = None, reason: str | None = None) -> bool:
    return bool(queue.value("select tidemill.pause(%s, %s, %s)", [kind, name, reason]))


def resume(queue: Queue, kind: str, name: str | None = None) -> bool:
    return bool(queue.value("select tidemill.resume(%s, %s)", [kind, name]))


def found(queue: Queue, *, express: bool) -> list[int]:
    """The jobs of the tasks t and u that a claim finds; it is undone."""
    with queue.connection.transaction(force_rollback=True):
        quick = ("t", "u") if express else ()
        return ids(queue.claim(tasks=("t", "u"), quick=quick, express=express))


@pytest.mark.parametrize("express", [False, True])
@pytest.mark.parametrize(("kind", "name"), [("task", "t"), ("all", None), ("queue", "q")])
def test_a_claim_leaves_what_is_paused(queue: Queue, express: bool, kind: str, name: str | None) -> None:
    single, other = queue.add("t")["id"], queue.add("u")["id"]
    queued, next_one = (queue.add(task, queue_name="q")["id"] for task in ("t", "u"))
    everything = [single, other, queued, next_one]
    assert found(queue, express=express) == everything
    assert pause(queue, kind, name)
    assert not pause(queue, kind, name, "again")
    # What stands behind a paused job in its queue waits for it: the order is kept.
    left = {"task": [other], "all": [], "queue": [single, other]}[kind]
    assert found(queue, express=express) == left
    seen = queue.rows("select id from tidemill.jobs where paused_at is not null order by id")
    assert ids(seen) == {"task": [single, queued], "all": everything, "queue": [queued, next_one]}[kind]
    assert resume(queue, kind, name)
    assert not resume(queue, kind, name)
    assert found(queue, express=express) == everything


def test_jobs_before_one_of_a_paused_task_in_their_queue_run(queue: Queue) -> None:
    first, second = queue.add("u", queue_name="q")["id"], queue.add("u", queue_name="q")["id"]
    queue.add("t", queue_name="q")
    queue.add("u", queue_name="q")
    pause(queue, "task", "t")
    assert found(queue, express=False) == [first, second]


def test_who_why_and_since_when(queue: Queue) -> None:
    queue.connection.execute("set tidemill.acts_as = 'ann@example.com'")
    queue.add("t")
    pause(queue, "task", "t", "the provider is down")
    pause(queue, "all")
    rows = queue.rows(
        "select kind, name, paused_by, acts_as, reason, paused_at <= clock_timestamp() as past"
        " from tidemill.pauses order by kind"
    )
    me = queue.value("select current_user")
    common = {"paused_by": me, "acts_as": "ann@example.com", "past": True}
    assert rows == [
        {"kind": "all", "name": None, "reason": None, **common},
        {"kind": "task", "name": "t", "reason": "the provider is down", **common},
    ]


def test_everything_is_also_what_comes_later(queue: Queue) -> None:
    pause(queue, "all")
    later = queue.add("t")["id"]
    assert found(queue, express=False) == []
    pause(queue, "task", "t")
    resume(queue, "all")
    # It has a pause of its own.
    assert found(queue, express=False) == []
    resume(queue, "task", "t")
    assert found(queue, express=False) == [later]


def test_a_pause_of_everything_and_the_first_job_of_a_task_wait_for_each_other(
    queue: Queue, another: Callable[[], Queue]
) -> None:
    """Else the task would be missed: neither sees what the other has not committed."""
    producer = another()
    with ThreadPoolExecutor(1) as pool:
        with producer.connection.transaction():
            producer.add("t")
            paused = pool.submit(pause, queue, "all")
            waits = "select from pg_locks where not granted"
            wait_until(lambda: producer.rows(waits), "the pause to wait")
        assert paused.result(30)
    assert found(queue, express=False) == []


def test_a_task_of_a_live_worker_may_be_paused_before_its_first_job(queue: Queue) -> None:
    with refused("42704", 'no task has the name "send_mail"', "A task is known once"):
        pause(queue, "task", "send_mail")
    queue.register("w", ["send_mail"])
    with refused("42704", 'no task has the name "sendmail"', 'Is "send_mail" meant?'):
        pause(queue, "task", "sendmail")
    assert pause(queue, "task", "send_mail")
    queue.add("send_mail")
    assert queue.claim(tasks=("send_mail",)) == []


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "words"),
    [
        (("tasks", "t"), "22023", 'kind "tasks" is unknown'),
        ((None, "t"), "22023", "kind NULL is unknown"),
        (("all", "t"), "22023", "takes no name"),
        (("task", None), "22023", "the name of the task is missing"),
        (("queue", "qeue 1"), "42704", 'Is "queue 1" meant?'),
        (("queue", "elsewhere"), "42704", "A queue is known once"),
    ],
)
@pytest.mark.parametrize("call", [pause, resume])
def test_what_cannot_be_meant_is_refused(
    queue: Queue, call: Callable[..., bool], arguments: tuple[str, str], sqlstate: str, words: str
) -> None:
    queue.add("t", queue_name="queue 1")
    with refused(sqlstate, words):
        call(queue, *arguments)


def test_a_claim_that_has_nothing_left_says_up_to_when_it_looked(queue: Queue) -> None:
    queue.add("t")
    queue.add("t", queue_name="q")
    pause(queue, "task", "t")
    [last] = queue.rows(
        "select id, identifier, priority, run_at = now() as now from tidemill._lock_jobs("
        "array['t', 'never had one'], '{}', false, 10, null, null, null, null)"
    )
    assert last == {"id": None, "identifier": None, "priority": None, "now": True}
    [last] = queue.rows(
        "select run_at = '-infinity' as over, queue_id, claim_token from tidemill._lock_queued_jobs("
        "array['t'], '{}', false, 10, null, 5, 10, now(), 7)"
    )
    assert last == {"over": True, "queue_id": 0, "claim_token": 0}


def test_resume_wakes_workers_without_naming_a_place(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.add("t")
    pause(queue, "task", "t")
    queue.register()
    queue.rows("select tidemill._declare_listener('w', true)")
    listener = another().connection
    listener.execute('listen "tidemill:jobs"')
    resume(queue, "task", "t")
    assert [told.payload for told in listener.notifies(timeout=30, stop_after=1)] == ["0"]
