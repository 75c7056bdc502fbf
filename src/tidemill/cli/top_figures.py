"""For `tidemill top`: asks the database for what a frame shows, over one connection, in short statements."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg.errors import InsufficientPrivilege, LockNotAvailable, QueryCanceled
from psycopg.rows import dict_row

from tidemill.database.connect import explain
from tidemill.database.patient import KeptConnection
from tidemill.database.sql import query
from tidemill.database.words import in_short

COUNTED = 5_000
"""Of each kind so many jobs are counted: of those that are due, that are for later, that run, and so on."""

# Each is a statement of its own: one that takes too long, or lacks a right, keeps no other from being shown.
_PARTS = {
    "tasks": "top_tasks",
    "jobs": "top_jobs",
    "workers": "top_workers",
    "actions": "top_actions",
    "pauses": "list_pauses",
}
_TIMEOUT_SECONDS = 1
_SETTINGS: LiteralString = (
    "set transaction read only; set local search_path = pg_catalog, pg_temp; "
    "set local lock_timeout = '200ms'; set local statement_timeout = '1s'"
)
_MOST_ERRORS = 100

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Frame:
    """What the database said; if it is lost, what it said last."""

    at: datetime | None = None
    """By its clock; None if it never answered."""
    parts: dict[str, Rows] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """For each task whose jobs have one, a late error."""
    not_read: dict[str, str] = field(default_factory=dict)
    """Parts that are missing, and why."""
    seconds: float = 0.0
    """How long it took to ask."""
    lost_since: datetime | None = None
    lost_because: psycopg.Error | None = None


class Figures:
    """Asks for frames, over a connection that it opens again when it is lost."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], window: timedelta) -> None:
        self._connection = KeptConnection(connect)
        self._window = window
        self._last = Frame()

    def ask(self) -> Frame:
        """The next frame; never raises for what the database does."""
        began = time.monotonic()
        try:
            found = self._ask(self._connection.open())
        except psycopg.Error as error:
            self._connection.close()
            since = self._last.lost_since or datetime.now(UTC)
            found = replace(self._last, lost_since=since, lost_because=error)
        self._last = replace(found, seconds=time.monotonic() - began)
        return self._last

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _ask(self, connection: psycopg.Connection[Any]) -> Frame:
        parts: dict[str, Rows] = {}
        not_read: dict[str, str] = {}
        # One transaction: behind a pooler the settings hold for it alone.
        with connection.transaction(force_rollback=True):
            connection.execute(_SETTINGS)
            [(at,)] = connection.execute("select pg_catalog.now()").fetchall()
            params = {"window": self._window, "most": COUNTED}
            for part, statement in _PARTS.items():
                parts[part] = self._read(connection, part, statement, params, not_read)
            errors = self._read(
                connection, "errors", "top_errors", {"ids": _failed_jobs(parts["jobs"])}, not_read
            )
        return Frame(at, parts, {row["task"]: row["error"] for row in errors}, not_read)

    def _read(
        self,
        connection: psycopg.Connection[Any],
        part: str,
        statement: str,
        params: dict[str, Any],
        not_read: dict[str, str],
    ) -> Rows:
        try:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(query(statement), params).fetchall()
        except psycopg.Error as error:
            if connection.closed:
                raise
            not_read[part] = _reason(error)
            return []


def _failed_jobs(jobs: Rows) -> list[int]:
    """The newest job with an error of each task."""
    newest: dict[str, int] = {}
    for row in jobs:
        if row["newest_error"] is not None and row["state"] != "cancelled":
            newest[row["task"]] = max(row["newest_error"], newest.get(row["task"], 0))
    return sorted(newest.values(), reverse=True)[:_MOST_ERRORS]


def _reason(error: psycopg.Error) -> str:
    match error:
        case QueryCanceled():
            return f"it took longer than {_TIMEOUT_SECONDS} s"
        case LockNotAvailable():
            return "what it reads is locked"
        case InsufficientPrivilege():
            return str(explain(error))
    return in_short(error)
