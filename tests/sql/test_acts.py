"""Acts: who did what, before and after, one row for each call that changed something."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest

from tests.sql.calls import Queue, Row, ids

ACTION: LiteralString = (
    "select tidemill.add_action(task => 'report', schedule_interval => '1 hour', name => 'nightly',"
    " config => '{\"secret\": 1}')"
)


def acts(queue: Queue) -> list[Row]:
    return queue.rows(
        "select who, what, subjects, subject_count as count, reason, before, after"
        " from tidemill.acts order by id"
    )


def last(queue: Queue) -> Row:
    return acts(queue)[-1]


@pytest.fixture
def jobs(queue: Queue) -> list[int]:
    return ids([queue.add("t", payload="secret", priority=n) for n in range(3)])


@pytest.mark.parametrize(
    ("call", "what", "changed"),
    [
        ("cancel_jobs(%s, 'no more')", "cancel_jobs", {"state": "cancelled"}),
        ("permanently_fail_jobs(%s, 'by hand')", "permanently_fail_jobs", {"state": "failed"}),
        ("reschedule_jobs(%s, priority => 9)", "reschedule_jobs", {"priority": 9}),
        ("complete_jobs(%s)", "complete_jobs", None),
    ],
)
def test_of_many_jobs_there_is_one_row(
    queue: Queue, jobs: list[int], call: str, what: str, changed: Row | None
) -> None:
    queue.rows(f"select * from tidemill.{call}".encode(), [[*jobs, 999]])
    [act] = acts(queue)
    assert (act["who"], act["what"]) == (queue.value("select current_user"), what)
    assert (act["subjects"], act["count"]) == ([str(job) for job in jobs], 3)
    assert [(one["id"], one["state"], one["priority"]) for one in act["before"]] == [
        (job, "ready", place) for place, job in enumerate(jobs)
    ]
    if changed is None:
        assert act["after"] is None
    else:
        assert all(changed.items() <= one.items() for one in act["after"])
    assert "secret" not in str(act)


def test_what_changes_nothing_or_is_rolled_back_leaves_none(queue: Queue, jobs: list[int]) -> None:
    queue.rows("select * from tidemill.cancel_jobs(array[999]::bigint[])")
    queue.rows("select * from tidemill.remove_job('no such key')")
    queue.rows("select tidemill.resume('task', 't')")
    with queue.connection.transaction(force_rollback=True):
        queue.rows("select * from tidemill.cancel_jobs(%s)", [jobs])
    assert acts(queue) == []


def test_a_call_on_thousands_works_in_steps_and_has_one_row(queue: Queue) -> None:
    queue.rows("select count(tidemill.add_job('t')) from generate_series(1, 2500)")
    done = queue.rows(
        "select * from tidemill.complete_jobs(array(select id from tidemill.jobs order by id desc))"
    )
    assert ids(done) == list(range(1, 2501))
    [act] = acts(queue)
    assert (len(act["subjects"]), act["count"], len(act["before"])) == (100, 2500, 10)
    # Two calls in one transaction are two acts.
    jobs = ids([queue.add(), queue.add()])
    with queue.connection.transaction():
        for job in jobs:
            queue.rows("select * from tidemill.complete_jobs(%s::bigint[])", [[job]])
    assert [one["count"] for one in acts(queue)] == [2500, 1, 1]


def test_keys_workers_and_pauses(queue: Queue) -> None:
    job = queue.add("t", job_key="k")["id"]
    queue.remove("k")
    assert (last(queue)["what"], last(queue)["subjects"], last(queue)["after"]) == (
        "remove_job",
        [str(job)],
        None,
    )
    queue.add("t")
    queue.register()
    queue.claim()
    queue.rows("select tidemill.force_unlock_workers('{w}')")
    assert (last(queue)["subjects"], last(queue)["after"]) == (["w"], {"freed_jobs": 1})
    queue.rows("select tidemill.stop_worker('w', 'deploy')")
    assert (last(queue)["what"], last(queue)["reason"]) == ("stop_worker", "deploy")
    queue.rows("select tidemill.pause('task', 't', 'why not')")
    queue.rows("select tidemill.resume('task', 't')")
    pause, resume = acts(queue)[-2:]
    assert (pause["subjects"], pause["reason"], resume["subjects"]) == (["task t"], "why not", ["task t"])
    assert resume["before"]["reason"] == "why not"


def test_actions(queue: Queue) -> None:
    action = queue.value(ACTION)
    assert "secret" not in str(last(queue))
    assert (last(queue)["what"], last(queue)["subjects"], last(queue)["after"]["name"]) == (
        "add_action",
        [str(action)],
        "nightly",
    )
    # It changes nothing, and one that is there is not added.
    queue.rows("select * from tidemill.alter_action(%s)", [action])
    queue.rows(ACTION.replace("config", "if_not_exists => true, config").encode())
    assert len(acts(queue)) == 1
    queue.rows(
        "select * from tidemill.alter_action(%s, scheduled => false, config => '{\"secret\": 2}')", [action]
    )
    act = last(queue)
    assert {**act["before"], "config": None} == {"scheduled": True, "config": None}
    assert {**act["after"], "config": None} == {"scheduled": False, "config": None}
    assert act["before"]["config"] != act["after"]["config"]
    queue.connection.execute("call tidemill.run_action(%s)", [action])
    assert last(queue)["what"] == "run_action"
    queue.rows("select tidemill.set_on_failure('tell')")
    assert (last(queue)["before"], last(queue)["after"]) == ({"on_failure": None}, {"on_failure": "tell"})
    queue.rows("select tidemill.delete_action(%s)", [action])
    assert (last(queue)["what"], last(queue)["before"]["name"], last(queue)["after"]) == (
        "delete_action",
        "nightly",
        None,
    )


def test_a_workers_start_is_nobodys_act(queue: Queue) -> None:
    declare = "select outcome from tidemill._declare_action('t', {}, timezone => 'UTC', missed => {!r})"
    outcomes = [
        queue.value(declare.format(schedule, missed).encode())
        for schedule, missed in (
            ("interval '1 hour'", "run_once"),
            ("interval '1 hour'", "skip"),
            ("interval '2 hours'", "skip"),
            ("null, '@hourly'", "skip"),
        )
    ]
    assert outcomes == ["added", "changed", "changed", "changed"]
    queue.rows("select tidemill._undeclare_actions('{t}')")
    assert acts(queue) == []


def test_for_whom_a_session_says_that_it_acts(queue: Queue) -> None:
    connection: psycopg.Connection[Any] = queue.connection
    connection.execute("set application_name = 'shop'; set tidemill.acts_as = 'ann'")
    queue.add("t")
    queue.rows("select tidemill.pause('task', 't')")
    assert queue.row("select application_name, acts_as from tidemill.acts") == {
        "application_name": "shop",
        "acts_as": "ann",
    }


def test_they_are_pruned_with_the_history(queue: Queue) -> None:
    for job in (queue.add(), queue.add()):
        queue.rows("select * from tidemill.complete_jobs(%s::bigint[])", [[job["id"]]])
    queue.connection.execute("update tidemill._acts set at = now() - interval '91 days' where id = 1")
    config = '{"drop_after": "1 month", "max_successes_per_job": 10, "max_failures_per_job": 10}'
    queue.connection.execute("call tidemill.prune_action_history(3, %s)", [config])
    assert len(acts(queue)) == 1
    config = config.replace("{", '{"drop_acts_after": "0 s", ')
    queue.connection.execute("call tidemill.prune_action_history(3, %s)", [config])
    assert acts(queue) == []
