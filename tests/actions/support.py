"""Actions for tests, and what became of their runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.support.running import eventually, run_all
from tidemill import App

NOON = datetime.fromisoformat("2026-03-10 12:00:00+00:00")
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))

# Waits for lock 7, which the fixture `lock` holds.
BLOCKS = "perform pg_advisory_lock(7); perform pg_advisory_unlock(7);"

TABLE = "create table seen (action_id integer, config jsonb, at timestamptz default clock_timestamp())"
NOTES = """
    create procedure note(job_id integer, config jsonb) language sql
    as $$ insert into seen values (job_id, config) $$
"""


def make_note(connection: psycopg.Connection) -> None:
    """Makes the procedure `note`, which writes each call into the table `seen`."""
    connection.execute(TABLE)
    connection.execute(NOTES)


def make_procedure(connection: psycopg.Connection, name: str, body: str) -> None:
    """Makes a PL/pgSQL procedure that an action can call."""
    connection.execute(
        sql.SQL("create or replace procedure {}(job_id integer, config jsonb) language plpgsql as {}").format(
            sql.Identifier(name), sql.Literal(f"begin {body} end")
        )
    )


def add_action(connection: psycopg.Connection, **arguments: Any) -> int:
    """Calls tidemill.add_action with named arguments; an hourly one unless they say otherwise."""
    if not {"schedule", "schedule_interval"} & set(arguments):
        arguments["schedule_interval"] = HOUR
    casts = {"proc": "regproc", "check_config": "regproc", "config": "jsonb", "job_options": "jsonb"}
    parts = [
        sql.SQL("{} => {}{}").format(
            sql.Identifier(name),
            sql.Literal(value),
            sql.SQL(f"::{casts[name]}" if name in casts else ""),
        )
        for name, value in arguments.items()
    ]
    query = sql.SQL("select tidemill.add_action({})").format(sql.SQL(", ").join(parts))
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def state(connection: psycopg.Connection, action_id: int) -> dict[str, Any]:
    """The state of an action."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select * from tidemill._action_states where action_id = %s", [action_id]
        ).fetchone()
    assert row is not None
    return row


def history(connection: psycopg.Connection, action_id: int) -> list[dict[str, Any]]:
    """The runs of an action, the first one first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select * from tidemill._action_runs where action_id = %s order by id", [action_id]
        ).fetchall()


def outcomes(connection: psycopg.Connection, action_id: int) -> list[str | None]:
    """How the runs of an action ended, the first one first; None for a running one."""
    return [run["outcome"] for run in history(connection, action_id)]


async def until_running(connection: psycopg.Connection, action_id: int, event: str = "advisory") -> int:
    """Waits until the action's call waits for a lock, or another event; returns its server process."""

    def pid() -> int | None:
        row = connection.execute(
            "select r.pid from tidemill._action_runs r join pg_stat_activity a on a.pid = r.pid"
            " where r.action_id = %s and r.outcome is null and a.wait_event = %s",
            [action_id, event],
        ).fetchone()
        return None if row is None else row[0]

    found = await eventually(pid, "the action to run")
    assert found is not None
    return found


async def until_ended(connection: psycopg.Connection, action_id: int) -> dict[str, Any]:
    """Waits for the end of the action's last run, and returns that."""
    await eventually(lambda: outcomes(connection, action_id)[-1:] not in ([], [None]), "the run to end")
    return history(connection, action_id)[-1]


async def one_run(app: App, connection: psycopg.Connection, action_id: int) -> dict[str, Any]:
    """Runs what is due; returns the only run of an action."""
    await run_all(app)
    [run] = history(connection, action_id)
    return run
