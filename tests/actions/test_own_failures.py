"""What fails of Tidemill's own statements is no failure of the action: it is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.actions.support import NOON, add_action, history, make_note, outcomes, state, until_ended
from tests.support.running import eventually, run_all, running
from tidemill import App
from tidemill.actions import runner

pytestmark = pytest.mark.versions(18)

# Serialization, a deadlock, a lock timeout, a full disk, a statement timeout, a corrupt index.
OURS = ["40001", "40P01", "55P03", "53100", "57014", "XX002"]


def break_it(
    connection: psycopg.Connection,
    table: str,
    event: str,
    sqlstate: str,
    times: int = 1000,
    when: str = "true",
) -> None:
    """Lets a kind of write fail so many times; rollbacks do not take back what a sequence counts."""
    connection.execute("create sequence app.broken")
    connection.execute(
        "create function app.refuse() returns trigger language plpgsql as $$ begin"
        f"  if nextval('app.broken') > {times} then return new; end if;"
        f"  if '{sqlstate}' = '57P01' then perform pg_terminate_backend(pg_backend_pid()); end if;"
        f"  raise exception 'not now' using errcode = '{sqlstate}'; end $$;".encode()
    )
    connection.execute(
        f"create trigger refuse before {event} on tidemill.{table}"
        f" for each row when ({when}) execute function app.refuse()".encode()
    )


@pytest.mark.parametrize("sqlstate", [*OURS, "57P01"])
async def test_a_run_that_cannot_be_prepared_is_given_back(
    app: App, connection: psycopg.Connection, sqlstate: str
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON, max_retries=1)
    break_it(connection, "_action_runs", "update of pid", sqlstate)
    await run_all(app)
    assert connection.execute("select is_called from app.broken").fetchone() == (True,)
    assert history(connection, action) == []
    found = state(connection, action)
    assert (found["run_id"], found["total_runs"], found["consecutive_failures"]) == (None, 0, 0)
    connection.execute("drop trigger refuse on tidemill._action_runs")
    await run_all(app)
    assert outcomes(connection, action) == ["success"]


async def test_a_run_that_cannot_begin_holds_up_no_other(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_HINDERED_SECONDS", 600.0)
    make_note(connection)
    broken = add_action(connection, proc="note", initial_start=NOON)
    break_it(connection, "_action_runs", "update of pid", "XX002", when=f"new.action_id = {broken}")
    async with running(app, action_concurrency=1):
        await eventually(
            lambda: connection.execute("select is_called from app.broken").fetchone() == (True,), "a failure"
        )
        for _ in range(3):
            await until_ended(connection, add_action(connection, proc="note", initial_start=NOON))
        assert outcomes(connection, broken) == [None]
    assert history(connection, broken) == []


async def test_the_fifth_run_in_a_row_that_cannot_begin_is_a_failure(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_HINDERED_SECONDS", 0.01)
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON, max_retries=1)
    break_it(connection, "_action_runs", "update of pid", "XX002")
    async with running(app):
        await eventually(lambda: outcomes(connection, action) == ["failure"], "the failure")
    [run] = history(connection, action)
    assert (run["sqlstate"], run["message"]) == ("XX002", "not now")
    assert connection.execute("select last_value from app.broken").fetchone() == (5,)
    # As after any other failure.
    assert connection.execute(
        "select paused_because like 'paused after 1 consec%%' from tidemill.actions where id = %s", [action]
    ).fetchone() == (True,)


async def test_what_is_wrong_with_the_action_is_its_failure(app: App, connection: psycopg.Connection) -> None:
    make_note(connection)
    gone = add_action(connection, proc="note", initial_start=NOON)
    connection.execute("drop procedure note")
    make_note_again = "create procedure note2(integer, jsonb) language sql as 'select'"
    connection.execute(make_note_again)
    hungry = add_action(connection, proc="note2", initial_start=NOON, config='{"work_mem": "much"}')
    await run_all(app)
    assert [history(connection, action)[0]["sqlstate"] for action in (gone, hungry)] == ["42883", "22023"]


@pytest.mark.parametrize("sqlstate", OURS[:4])
async def test_a_task_whose_job_cannot_be_added_now_is_due_again(
    app: App, connection: psycopg.Connection, sqlstate: str
) -> None:
    plain = add_action(connection, task="t", initial_start=NOON)
    with_options = add_action(connection, task="t", initial_start=NOON, job_options='{"priority": 1}')
    break_it(connection, "_jobs", "insert", sqlstate)
    await run_all(app)
    assert [history(connection, action) for action in (plain, with_options)] == [[], []]
    connection.execute("drop trigger refuse on tidemill._jobs")
    await run_all(app)
    assert [outcomes(connection, action) for action in (plain, with_options)] == [["success"], ["success"]]


@pytest.mark.parametrize("sqlstate", OURS)
async def test_an_end_that_cannot_be_recorded_at_once_is_recorded_later(
    app: App, connection: psycopg.Connection, sqlstate: str
) -> None:
    make_note(connection)
    action = add_action(connection, proc="note", initial_start=NOON)
    break_it(connection, "_action_runs", "update of outcome", sqlstate, times=3)
    await run_all(app)
    assert outcomes(connection, action) == ["success"]
    assert state(connection, action)["consecutive_failures"] == 0


def break_slots(connection: psycopg.Connection, sqlstate: str) -> None:
    connection.execute(
        "create or replace function tidemill._next_slot(a tidemill._actions, after timestamptz)"
        " returns timestamptz language plpgsql stable as $$ begin"
        f" raise exception 'no slot' using errcode = '{sqlstate}'; end $$".encode()
    )


@pytest.mark.parametrize("sqlstate", [*OURS[:5], "58030", "22023"])
def test_a_next_start_that_cannot_be_told_now_pauses_no_action(
    connection: psycopg.Connection, sqlstate: str
) -> None:
    make_note(connection)
    paused = "select count(*) from tidemill.actions where id >= 1000 and not scheduled"
    start = "select run_id from tidemill._start_actions('w', 1, %s)"
    arguments = {"proc": "note", "initial_start": NOON, "fixed_schedule": True}
    add_action(connection, **arguments)
    run = connection.execute(start, [NOON]).fetchone()
    add_action(connection, **arguments, missed="skip")
    connection.execute("update tidemill._action_states set must_run = false")
    break_slots(connection, sqlstate)
    statements: list[tuple[str, Sequence[Any]]] = [
        ("select from tidemill._finish_run(%s, 'success')", run or ()),
        ("select tidemill._skip_missed(%s)", [NOON + timedelta(days=1)]),
    ]
    for number, (statement, parameters) in enumerate(statements, start=1):
        if sqlstate == "22023":
            connection.execute(statement, parameters)
            assert connection.execute(paused).fetchone() == (number,)
            continue
        with pytest.raises(psycopg.Error, match="no slot") as raised:
            connection.execute(statement, parameters)
        assert raised.value.sqlstate == sqlstate
        assert connection.execute(paused).fetchone() == (0,)
