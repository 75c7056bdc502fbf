"""What fails of Tidemill's own statements is no failure of the action: it is tried again."""

from __future__ import annotations

import psycopg
import pytest

from tests.actions.support import NOON, add_action, history, make_note, outcomes, state
from tests.support.running import run_all
from tidemill import App

pytestmark = pytest.mark.versions(18, 16)

# Serialization, a deadlock, a lock timeout, a full disk, a statement timeout, a corrupt index.
OURS = ["40001", "40P01", "55P03", "53100", "57014", "XX002"]


def break_it(
    connection: psycopg.Connection, table: str, event: str, sqlstate: str, times: int = 1000
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
        " for each row execute function app.refuse()".encode()
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
