"""The task that is told of failed runs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.support import NOON, add_action, history, make_note

pytestmark = pytest.mark.versions(18, 16)

Connection = psycopg.Connection

TOLD = ["failure", "timeout", "backend_terminated", "worker_lost", "server_restarted"]


@pytest.fixture
def action(connection: Connection) -> int:
    """An hourly action that is due at noon."""
    make_note(connection)
    return add_action(connection, proc="note", name="Hourly", config='{"a": 1}', initial_start=NOON)


def end(connection: Connection, outcome: str, **named: Any) -> int:
    """Starts the action that is due, and ends its run so."""
    row = connection.execute(
        "select run_id from tidemill._start_actions('w', 1, %s)", [NOON + timedelta(seconds=1)]
    ).fetchone()
    assert row is not None
    arguments = "".join(f", {name} => %({name})s" for name in named)
    connection.execute(
        f"select tidemill._finish_run(%(run)s, %(outcome)s, %(at)s{arguments})".encode(),
        {"run": row[0], "outcome": outcome, "at": NOON + timedelta(seconds=5), **named},
    )
    return int(row[0])


def told(connection: Connection) -> list[tuple[str, Any]]:
    return connection.execute("select identifier, payload from tidemill.jobs order by id").fetchall()


def test_nobody_is_told_unless_asked_for(connection: Connection, action: int) -> None:
    end(connection, "failure")
    assert told(connection) == []


@pytest.mark.parametrize("outcome", TOLD)
def test_the_scheduler_tells_a_task(connection: Connection, action: int, outcome: str) -> None:
    connection.execute("select tidemill.set_on_failure('alert')")
    end(connection, outcome)
    [(task, payload)] = told(connection)
    assert (task, payload["action_id"], payload["outcome"]) == ("alert", action, outcome)


@pytest.mark.parametrize("outcome", ["success", "stopped"])
def test_not_of_what_is_no_failure(connection: Connection, action: int, outcome: str) -> None:
    connection.execute("select tidemill.set_on_failure('alert')")
    end(connection, outcome)
    assert told(connection) == []


def test_an_actions_own_task_comes_first(connection: Connection, action: int) -> None:
    connection.execute("select tidemill.set_on_failure('alert')")
    connection.execute("select tidemill.alter_action(%s, on_failure => 'own')", [action])
    end(connection, "failure")
    assert [task for task, _ in told(connection)] == ["own"]


@pytest.mark.parametrize("nothing", ["null", "''"])
def test_the_setting_can_be_taken_back(connection: Connection, action: int, nothing: str) -> None:
    connection.execute("select tidemill.set_on_failure('alert')")
    connection.execute(f"select tidemill.set_on_failure({nothing})".encode())
    end(connection, "failure")
    assert told(connection) == []


def test_names_that_no_task_can_have(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("select tidemill.set_on_failure(repeat('x', 129))")
    connection.execute("select tidemill.set_on_failure(repeat('x', 128))")


def test_the_payload(connection: Connection, action: int) -> None:
    connection.execute("set timezone = 'Asia/Kolkata'")
    connection.execute("select tidemill.set_on_failure('alert')")
    connection.execute("select tidemill.alter_action(%s, max_retries => 1)", [action])
    run = end(
        connection, "failure", sqlstate="22012", message="m", detail="d", hint="h", context="c", output="o"
    )
    [(_, payload)] = told(connection)
    assert payload == {
        "action_id": action,
        "name": "Hourly",
        "routine": "app.note",
        "task": None,
        "run_id": run,
        "outcome": "failure",
        "slot": "2026-03-10T12:00:00+00:00",
        "started_at": "2026-03-10T12:00:01+00:00",
        "finished_at": "2026-03-10T12:00:05+00:00",
        "sqlstate": "22012",
        "message": "m",
        "detail": "d",
        "hint": "h",
        "context": "c",
        "output": "o",
        "config": {"a": 1},
        "consecutive_failures": 1,
        "next_start": payload["next_start"],
        "paused": True,
    }
    # Five minutes later, give or take an eighth.
    assert "2026-03-10T12:04:25" < payload["next_start"] < "2026-03-10T12:05:45"


def test_of_an_action_that_was_deleted_meanwhile(connection: Connection, action: int) -> None:
    connection.execute("select tidemill.set_on_failure('alert')")
    row = connection.execute("select run_id from tidemill._start_actions('w', 1, %s)", [NOON]).fetchone()
    assert row is not None
    connection.execute("select tidemill.delete_action(%s)", [action])
    connection.execute(
        "update tidemill._action_runs set outcome = 'failure', finished_at = now() where id = %s", row
    )
    connection.execute("select tidemill._tell_failure(%s)", row)
    [(_, payload)] = told(connection)
    assert (payload["action_id"], payload["name"], payload["paused"]) == (action, None, None)


def test_not_of_runs_by_hand(connection: Connection) -> None:
    connection.execute("select tidemill.set_on_failure('alert')")
    connection.execute(
        "create procedure broken(integer, jsonb) language plpgsql as $$ begin perform 1/0; end $$"
    )
    broken = add_action(connection, proc="broken", on_failure="own")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("call tidemill.run_action(%s)", [broken])
    assert [run["outcome"] for run in history(connection, broken)] == ["failure"]
    assert told(connection) == []


def test_a_task_that_cannot_be_told_does_no_harm(connection: Connection, action: int) -> None:
    connection.execute("update tidemill._actions set on_failure = repeat('x', 129) where id = %s", [action])
    warnings: list[str | None] = []
    connection.add_notice_handler(lambda diag: warnings.append(diag.message_primary))
    run = end(connection, "failure", message="m")
    assert [(found["outcome"], found["message"]) for found in history(connection, action)] == [
        ("failure", "m")
    ]
    assert told(connection) == []
    (warning,) = warnings
    assert warning is not None
    assert warning.startswith(f"the failure of run {run} could not be told to the task xxx")


def test_a_task_action_that_cannot_be_enqueued_is_told_of_once(connection: Connection) -> None:
    """A report is a job and no action, so its own failure is not reported in turn."""
    action = add_action(connection, task="alert", initial_start=NOON, on_failure="alert")
    connection.execute("update tidemill._actions set task = repeat('x', 129) where id = %s", [action])
    connection.execute("select tidemill._enqueue_actions(9, %s)", [NOON])
    [(task, payload)] = told(connection)
    assert (task, payload["outcome"], payload["sqlstate"]) == ("alert", "failure", "23514")
    assert json.dumps(payload).count("alert") == 0
