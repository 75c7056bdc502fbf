"""Changes of many jobs by a filter: what they take, what they pass over, and how they go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql.calls import Queue, spec

pytestmark = pytest.mark.versions(18, 15)


@pytest.fixture
def other(another: Callable[[], Queue]) -> Queue:
    return another()


def begin(queue: Queue, act: str, options: dict[str, Any] | None = None, /, **filters: Any) -> int:
    return int(
        queue.value(
            "select tidemill.begin_bulk_act(%s, %s, %s)",
            [act, json.dumps(filters), json.dumps(options or {})],
        )
    )


def step(queue: Queue, act: int, most: int = 1000) -> dict[str, Any]:
    return queue.row("select * from tidemill.step_bulk_act(%s, %s)", [act, most])


def test_it_goes_on_in_batches(queue: Queue) -> None:
    for _ in range(5):
        queue.add()
    queue.add("other")
    act = begin(queue, "cancel", {"reason": "closed"}, task="t")
    planned = queue.row("select * from tidemill.bulk_acts")
    assert (planned["state"], planned["matching"], planned["progress"]) == ("planned", 5, 0)
    assert (planned["asked_by"], planned["filter"]) == ("tidemill_owner", {"task": "t"})

    first = step(queue, act, 2)
    assert (first["state"], first["changed"], first["passed_over"]) == ("running", [1, 2], {})
    assert 0 < first["progress"] < 1
    queue.connection.execute("call tidemill.run_bulk_act(%s)", [act])
    ended = queue.row("select * from tidemill.bulk_acts")
    assert (ended["state"], ended["changed"], ended["progress"]) == ("done", 5, 1)
    assert {row["last_error"] for row in queue.rows("select last_error from tidemill.jobs where id < 6")} == {
        "Cancelled: closed"
    }
    assert queue.value("select state from tidemill.jobs where id = 6") == "ready"
    # Once it has ended, a step does nothing.
    assert step(queue, act)["changed"] == []


@pytest.mark.parametrize(
    ("act", "options", "state", "after"),
    [
        ("retry", {}, "failed", ("ready", 0, 0)),
        ("cancel", {}, "scheduled", ("cancelled", 0, 0)),
        ("reschedule", {"priority": 7, "run_at": "1 hour"}, "ready", ("scheduled", 7, 0)),
    ],
)
def test_each_act(
    queue: Queue, act: str, options: dict[str, Any], state: str, after: tuple[Any, ...]
) -> None:
    queue.add()
    queue.add(run_at="2100-01-01")
    queue.add()
    queue.rows("select tidemill.permanently_fail_jobs('{3}')")
    wanted = {"ready": 1, "scheduled": 2, "failed": 3}[state]
    assert step(queue, begin(queue, act, options, state=state))["changed"] == [wanted]
    row = queue.row("select state, priority, attempts from tidemill.jobs where id = %s", [wanted])
    assert tuple(row.values()) == after
    assert step(queue, begin(queue, "remove", task="t"))["changed"] == [1, 2, 3]


def test_what_comes_after_the_plan_is_not_taken(queue: Queue) -> None:
    queue.add(job_key="k")
    queue.add()
    act = begin(queue, "remove", task="t")
    queue.add()
    queue.add(job_key="k", priority=3)
    assert step(queue, act)["changed"] == [2]
    assert [row["id"] for row in queue.rows("select id from tidemill.jobs order by id")] == [1, 3]


def test_what_is_passed_over_is_told_with_the_reason(queue: Queue, other: Queue) -> None:
    for _ in range(4):
        queue.add()
    queue.claim(count=1)
    act = begin(queue, "remove", task="t")
    with other.connection.transaction():
        other.rows("select id from tidemill._jobs where id = 2 for update")
        done = step(queue, act, 3)
    assert (done["changed"], done["passed_over"]) == ([3], {"running": [1], "locked": [2]})
    step(queue, act)
    assert queue.value("select passed_over from tidemill.bulk_acts") == {
        "running": {"jobs": 1, "first": [1]},
        "locked": {"jobs": 1, "first": [2]},
    }
    queue.rows("select tidemill.permanently_fail_jobs('{2}')")
    assert step(queue, begin(queue, "cancel", state="failed"))["passed_over"] == {"failed": [2]}


def test_it_can_be_ended(queue: Queue) -> None:
    queue.add()
    queue.add()
    act = begin(queue, "remove", task="t")
    step(queue, act, 1)
    assert queue.value("select tidemill.abort_bulk_act(%s)", [act]) is True
    assert step(queue, act)["state"] == "aborted"
    assert queue.value("select tidemill.abort_bulk_act(%s)", [act]) is False
    assert len(queue.rows("select from tidemill.jobs")) == 1


@pytest.mark.parametrize(
    ("act", "filters", "options", "words"),
    [
        ("remove", {}, {}, "the filter of a bulk act is empty"),
        ("remove", {"identifier": "t"}, {}, "unknown key: identifier"),
        ("remove", {"task": ""}, {}, "task of the filter is empty"),
        ("remove", {"task": None}, {}, "task of the filter is empty"),
        ("remove", {"state": "done"}, {}, "'done' is no state"),
        ("remove", {"retrying": False}, {}, "retrying of the filter is false"),
        ("remove", {"since": "soon"}, {}, "since is 'soon', which is neither a time nor an interval"),
        ("remove", {"since": 5}, {}, "since is 5, which has no unit"),
        ("remove", {"until": "250101"}, {}, "until is 250101, which has no unit"),
        ("reschedule", {"task": "t"}, {"run_at": "30"}, "run_at is 30, which has no unit"),
        ("delete", {"task": "t"}, {}, "'delete' is no act"),
        ("retry", {"task": "t"}, {"priority": 1}, "retry has no option priority"),
        ("reschedule", {"task": "t"}, {}, "does not say what to change"),
        ("reschedule", {"task": "t"}, {"priority": 100000}, "priority 100000"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    queue: Queue, act: str, filters: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(psycopg.Error, match=words) as refused:
        begin(queue, act, options, **filters)
    assert refused.value.sqlstate in ("22023", "22003")
    assert refused.value.diag.message_hint
    assert queue.rows("select from tidemill.bulk_acts") == []


@pytest.mark.parametrize("options", ["[1]", '"x"'])
def test_options_are_an_object(queue: Queue, options: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="and no object"):
        queue.value("select tidemill.begin_bulk_act('cancel', '{\"task\": \"t\"}', %s)", [options])


def test_an_unknown_id_is_refused(queue: Queue) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject, match="there is no bulk act 7"):
        step(queue, 7)
    with pytest.raises(psycopg.errors.UndefinedObject, match="there is no bulk act whose id is null"):
        queue.value("select tidemill.abort_bulk_act(null)")


def test_two_clients_carry_it_out_together(queue: Queue, another: Callable[[], Queue]) -> None:
    queue.add_many([spec() for _ in range(2500)])
    act = begin(queue, "cancel", task="t")
    clients = [another(), another()]
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(each.connection.execute, "call tidemill.run_bulk_act(%s)", [act]) for each in clients
        ]
        for call in calls:
            call.result()
    row = queue.row("select state, changed, passed_over from tidemill.bulk_acts")
    assert row == {"state": "done", "changed": 2500, "passed_over": {}}


def test_a_session_above_read_committed_carries_one_out(queue: Queue) -> None:
    queue.add()
    queue.connection.execute("set default_transaction_isolation = 'repeatable read'")
    act = begin(queue, "remove", task="t")
    queue.connection.execute("call tidemill.run_bulk_act(%s)", [act])
    assert queue.rows("select from tidemill.jobs") == []
