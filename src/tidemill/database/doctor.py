"""Looks a database over: each check is a statement of its own, and none keeps others from being made."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.errors import InsufficientPrivilege, LockNotAvailable, QueryCanceled
from psycopg.rows import class_row

from tidemill.database import dialects
from tidemill.database import sql as files
from tidemill.database.installer import current_version, rows
from tidemill.database.words import words

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

# Each is a statement in sql/queries/doctor, and the code of what it finds. The gravest come first.
CHECKS = (
    "schema",
    "missing_objects",
    "read_only",
    "no_worker",
    "unknown_tasks",
    "expired_leases",
    "late_actions",
    "gone_routines",
    "failing_actions",
    "paused_actions",
    "connections",
    "wraparound",
    "disk",
    "autovacuum",
    "old_snapshot",
    "dead_rows",
    "bloat",
    "lost_workers",
    "missing_chunks",
    "invalid_indexes",
    "unpruned_history",
    "clock",
    "stopped_bulk_acts",
    "listeners",
    "pooler",
    "worker_versions",
    "constraint_exclusion",
)
_TIMEOUT_SECONDS = 5
# The checks are written for this search path. What one of them waits for holds up no other.
_SETTINGS: LiteralString = (
    "set transaction read only; set local search_path = pg_catalog, pg_temp; "
    "set local intervalstyle = 'postgres'; "
    "set local lock_timeout = '1s'; set local statement_timeout = '5s'"
)


@dataclass(frozen=True)
class Finding:
    """What a check has found, and what to do about it."""

    code: str
    severity: Severity
    """error: something does not work, or soon will not; warning: it may come to that; note: as you like."""
    finding: str
    remedy: str


@dataclass(frozen=True)
class NotChecked:
    """A check that could not be made."""

    code: str
    reason: str
    lacks_right: bool
    """Whether the role lacks a right for it; else it took too long, or failed."""


@dataclass
class Report:
    """What was found in a database."""

    all: int
    """How many checks were asked for."""
    role: str = ""
    """Who has made them."""
    is_reader: bool = False
    """Whether the role may read the views; else it could make more checks as a reader."""
    findings: list[Finding] = field(default_factory=list)
    """The gravest first."""
    not_checked: list[NotChecked] = field(default_factory=list)

    @property
    def made(self) -> int:
        """How many checks could be made."""
        return self.all - len(self.not_checked)

    @property
    def lacking(self) -> list[str]:
        """The checks that the role has no right for."""
        return [check.code for check in self.not_checked if check.lacks_right]

    @property
    def needs_somebody(self) -> bool:
        """Whether there is an error or a warning, or a check that failed for more than a right."""
        return any(found.severity != "note" for found in self.findings) or any(
            not check.lacks_right for check in self.not_checked
        )


def examine(connection: psycopg.Connection[Any], *, without: Collection[str] = ()) -> Report:
    """Makes all checks but those named `without`, over a connection in autocommit.

    Raises psycopg.OperationalError if the connection is lost.
    """
    if not rows(connection, "has_schema")[0][0]:
        missing = f'The database "{connection.info.dbname}" has no Tidemill schema.'
        return Report(1, findings=[Finding("schema", "error", missing, "tidemill migrate")])
    [(role, is_reader)] = connection.execute(files.query("who_checks")).fetchall()
    report = Report(len([code for code in CHECKS if code not in without]), role=role, is_reader=is_reader)
    for code in CHECKS:
        if code not in without:
            _check(connection, code, report)
    report.findings.sort(key=lambda found: SEVERITIES.index(found.severity))
    return report


def _check(connection: psycopg.Connection[Any], code: str, report: Report) -> None:
    text = files.query(f"doctor/{code}")
    # With parameters a percent sign would have to be doubled.
    params = _known(connection) if "%(" in text else None
    try:
        with (
            connection.transaction(force_rollback=True),
            connection.cursor(row_factory=class_row(_Row)) as cursor,
        ):
            cursor.execute(_SETTINGS)
            found = cursor.execute(text, params).fetchall()
    except psycopg.Error as error:
        if connection.closed:
            raise
        report.not_checked.append(_failure(code, error))
    else:
        report.findings += [Finding(code, row.severity, row.finding, row.remedy) for row in found]


@dataclass(frozen=True)
class _Row:
    severity: Severity
    finding: str
    remedy: str


def _failure(code: str, error: psycopg.Error) -> NotChecked:
    match error:
        case QueryCanceled():
            reason = f"it took longer than {_TIMEOUT_SECONDS} s"
        case LockNotAvailable():
            reason = "what it reads is locked"
        case _:
            reason = words(error)
    return NotChecked(code, reason, isinstance(error, InsufficientPrivilege))


def _known(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What this program knows of the schema, of its connection, and of the time."""
    hashes = {
        dialects.find(name).part: files.digest(dialects.find(name).fingerprint) for name in files.dialects()
    }
    return {
        "program": package_version("tidemill"),
        "version": current_version(),
        "migrations": [migration.number for migration in files.migrations()],
        "hashes": json.dumps({"functions": files.digest(files.functions()), **hashes}),
        "objects": objects(),
        "pid": connection.info.backend_pid,
        "now": datetime.now(UTC),
    }


def objects() -> list[str]:
    """The names of all functions and views that are laid."""
    made = r"^create (?:or replace )?(?:function|procedure|aggregate|view) tidemill\.(\w+)"
    return sorted(set(re.findall(made, files.functions(), re.MULTILINE)))
