"""Definitions of actions in SQL, on a clock that the tests set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from tests.support.waiting import wait_until

ROUTINE = "create procedure app.work(integer, jsonb) language sql as 'select'"
CASTS = {"proc": "regproc", "check_config": "regproc", "config": "jsonb", "config_merge": "jsonb"}
CASTS |= {"job_options": "jsonb", "initial_start": "timestamptz", "next_start": "timestamptz"}
CASTS |= {"schedule_interval": "interval", "retry_period": "interval", "backfill_period": "interval"}
Row = dict[str, Any]


def utc(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text + "+00:00")


def rows(connection: psycopg.Connection, query: str | sql.Composed, params: Any = None) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        text = query if isinstance(query, sql.Composed) else query.encode()
        return cursor.execute(text, params).fetchall()


def row(connection: psycopg.Connection, query: str | sql.Composed, params: Any = None) -> Row:
    [found] = rows(connection, query, params)
    return found


def call(function: str, *positional: Any, **named: Any) -> sql.Composed:
    """A call by these arguments, as a statement that selects what it returns."""
    parts = [sql.SQL("{}").format(value) for value in positional]
    for name, value in named.items():
        text = json.dumps(value) if isinstance(value, dict | list) else value
        cast = sql.SQL("::" + CASTS[name] if name in CASTS else "")
        parts.append(sql.SQL("{} => {}{}").format(sql.Identifier(name), sql.Literal(text), cast))
    return sql.SQL("select * from {}({}) as r").format(
        sql.Identifier(*function.split(".")), sql.SQL(", ").join(parts)
    )


def add(connection: psycopg.Connection, **named: Any) -> int:
    """Calls add_action, for app.work each hour unless the arguments say otherwise."""
    if not {"proc", "task"} & set(named):
        named["proc"] = "app.work"
    if not {"schedule", "schedule_interval"} & set(named):
        named["schedule_interval"] = "1 hour"
    return int(row(connection, call("tidemill.add_action", **named))["r"])


def alter(connection: psycopg.Connection, action: int | None, **named: Any) -> Row:
    return row(connection, call("tidemill.alter_action", action, **named))


def definition(connection: psycopg.Connection, action: int) -> Row:
    return row(connection, "select * from tidemill.actions where id = %s", [action])


def add_at(connection: psycopg.Connection, at: str, **definition: Any) -> int:
    """Adds an action as if it were that time, of app.work unless the definition names a task."""
    if "task" not in definition:
        found = row(connection, "select 'app.work(integer, jsonb)'::regprocedure::oid as number")
        definition["proc_oid"] = found["number"]
    added = row(
        connection,
        "select * from tidemill._insert_action(current_user::regrole, "
        "jsonb_populate_record(null::tidemill._actions, %s), null, false, 'action', at => %s)",
        [json.dumps(definition), utc(at)],
    )
    return int(added["action_id"])


def alter_at(
    connection: psycopg.Connection, action: int, at: str, next_start: str | None = None, **given: Any
) -> Row:
    """Alters an action as if it were that time; returns how it stands."""
    connection.execute(
        "select from tidemill._apply_alteration(current_user::regrole, "
        "jsonb_populate_record(null::tidemill._actions, %s), null, null, %s, false, 'action', at => %s)",
        [json.dumps({"id": action} | given), next_start and utc(next_start), utc(at)],
    )
    return definition(connection, action)


def set_state(connection: psycopg.Connection, action: int, **columns: Any) -> None:
    """Makes an action look as if it had run."""
    parts = [
        sql.SQL("{} = {}::{}").format(
            sql.Identifier(name),
            sql.Literal(value),
            sql.SQL("bigint" if name == "run_id" else "timestamptz"),
        )
        for name, value in columns.items()
    ]
    connection.execute(
        sql.SQL("update tidemill._action_states set {} where action_id = {}").format(
            sql.SQL(", ").join(parts), sql.Literal(action)
        )
    )


def ran(connection: psycopg.Connection, action: int, finished: str, next_start: str) -> None:
    """Makes an action look as if its last run had ended then."""
    end = utc(finished)
    set_state(
        connection,
        action,
        last_start=end - timedelta(seconds=10),
        slot=end - timedelta(seconds=10),
        last_finish=end,
        next_start=utc(next_start),
    )


def start(connection: psycopg.Connection, action: int) -> int:
    """Starts the action, as a worker does; returns the run."""
    set_state(connection, action, next_start="2000-01-01Z")
    connection.execute("update tidemill._action_states set next_start = 'infinity' where action_id < 1000")
    found = row(connection, "select * from tidemill._start_actions('w', 1)")
    assert found["action_id"] == action
    return int(found["run_id"])


@contextmanager
def refused(sqlstate: str, *words: str) -> Iterator[None]:
    """Expects an error of this SQLSTATE, whose message, detail and hint have these words."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    told = caught.value.diag
    assert told.sqlstate == sqlstate, caught.value
    for word in words:
        assert word in f"{told.message_primary}\n{told.message_detail}\n{told.message_hint}"


@contextmanager
def notices(connection: psycopg.Connection) -> Iterator[list[str]]:
    """Collects what the server tells meanwhile."""
    told: list[str] = []

    def keep(diagnostic: psycopg.errors.Diagnostic) -> None:
        told.append(f"{diagnostic.severity}: {diagnostic.message_primary}")

    connection.add_notice_handler(keep)
    try:
        yield told
    finally:
        connection.remove_notice_handler(keep)


def wait_for_a_lock(onlooker: psycopg.Connection) -> None:
    """Waits until another session waits for a lock."""
    wait_until(
        lambda: rows(
            onlooker,
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        ),
        "the other to wait for a lock",
    )
