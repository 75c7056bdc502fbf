"""The part of the tour that shows actions: SQL on a schedule."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tidemill.cli.demo_words import show, title
from tidemill.cli.output import print_table, say
from tidemill.database import sql
from tidemill.errors import TidemillError

_PATIENCE = 60.0
_COLUMNS = ("id", "started_at", "by_hand", "outcome", "output")


async def tour(connection: psycopg.Connection, *, has_dialect: bool) -> str:
    """Registers an action, runs it by hand, lets it run on its schedule; returns a line for the summary."""
    title("6. An SQL procedure on a schedule, as TimescaleDB's documentation has it")
    connection.execute("set search_path = tidemill_demo, public")
    execute(connection, sql.query("demo_action"))
    if has_dialect:
        action_id = execute(connection, sql.query("demo_action_add"))
    else:
        # The dialect is not installed, so its names do not exist.
        action_id = execute(
            connection, sql.query("demo_action_add").replace("add_job(", "tidemill.add_action(")
        )
    say(f"It is action {action_id}, due at once and then every hour. The worker runs it:")
    await wait_for_runs(connection, action_id, scheduled=1)
    print_history(connection, action_id)

    title("7. The same by hand: what it prints is shown here")
    call = "run_job" if has_dialect else "tidemill.run_action"
    connection.add_notice_handler(_print_notice)
    execute(connection, f"CALL {call}({action_id});")
    connection.remove_notice_handler(_print_notice)

    title("8. Every second, from now on")
    execute(
        connection, f"select next_start from tidemill.alter_action({action_id}, schedule_interval => '1 s');"
    )
    await wait_for_runs(connection, action_id, scheduled=3)
    print_history(connection, action_id)
    execute(connection, f"select tidemill.delete_action({action_id});")
    return "an SQL procedure that ran three times on its schedule and once by hand,"


def clean_up(connection: psycopg.Connection) -> None:
    """Deletes the tour's actions and their history, and drops its schemas."""
    connection.execute(sql.query("demo_action_end"))


def execute(connection: psycopg.Connection, statement: str) -> Any:
    """Shows a statement and executes it; returns the first value, if it has one."""
    show(statement)
    cursor = connection.execute(statement.encode())
    row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


def _print_notice(diag: psycopg.errors.Diagnostic) -> None:
    say(diag.message_primary or "", label=f"{diag.severity}:")


def history(connection: psycopg.Connection, action_id: int) -> list[dict[str, Any]]:
    """The runs of an action, the first one first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql.query("demo_action_runs"), {"id": action_id}).fetchall()


def _scheduled_runs(connection: psycopg.Connection, action_id: int) -> int:
    """How many runs on schedule have ended."""
    return sum(not run["by_hand"] and run["outcome"] is not None for run in history(connection, action_id))


async def wait_for_runs(connection: psycopg.Connection, action_id: int, *, scheduled: int) -> None:
    """Waits until this many runs on schedule have ended."""
    deadline = time.monotonic() + _PATIENCE
    while _scheduled_runs(connection, action_id) < scheduled:
        if time.monotonic() > deadline:
            raise TidemillError(
                f"The action {action_id} did not run within a minute. "
                "Look at what the worker says: tidemill worker --log-level debug"
            )
        await asyncio.sleep(0.05)


def print_history(connection: psycopg.Connection, action_id: int) -> None:
    """Prints the runs of an action, and what they printed."""
    runs = history(connection, action_id)
    print_table([{**run, "by_hand": "yes" if run["by_hand"] else ""} for run in runs], _COLUMNS, empty="")
