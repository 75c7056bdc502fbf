"""Databases with a schema of another build or version."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tidemill.database import sql as files

DIALECT = "graphile_worker"
# It needs a right on the schema public that the tests' role lacks.
IN_PUBLIC = "timescaledb"
NEWEST = files.migrations()[-1].number


def name_of(conninfo: str) -> str:
    return str(conninfo_to_dict(conninfo)["dbname"])


def execute(conninfo: str, statement: LiteralString, *params: object) -> list[tuple[Any, ...]]:
    """Runs one statement; returns its rows."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def routine_versions(conninfo: str) -> list[tuple[Any, ...]]:
    """Which transaction wrote each routine and view."""
    return execute(
        conninfo,
        "select oid::regprocedure::text, xmin::text from pg_proc "
        "where pronamespace in ('tidemill'::regnamespace, 'graphile_worker'::regnamespace) "
        "union all select ev_class::regclass::text, xmin::text from pg_rewrite order by 1",
    )


def make_outdated(conninfo: str, version: list[int] | None = None) -> None:
    """Makes the functions look like those of another build, of this version or the given one."""
    execute(
        conninfo,
        "update tidemill._installed set hash = 'another', version = coalesce(%s, version)",
        version,
    )


def add_migration(conninfo: str, number: int, *, breaking: bool) -> None:
    execute(conninfo, "insert into tidemill._migrations values (%s, 'later', %s)", number, breaking)
