"""Names that the Tab key completes; it is silent where there are none, since a line is being typed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import LiteralString

import psycopg
import typer
from psycopg.conninfo import make_conninfo

from tidemill.database import conninfo as conninfos
from tidemill.database import sql
from tidemill.database.find import running_embedded

_SETTINGS: LiteralString = (
    "set statement_timeout = '1s'; set lock_timeout = '200ms'; set search_path = pg_catalog, pg_temp"
)


def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tasks of live workers and of jobs."""
    return _names(ctx, "complete_tasks", incomplete)


def queues(ctx: typer.Context, incomplete: str) -> list[str]:
    """Named queues that have jobs."""
    return _names(ctx, "complete_queues", incomplete)


def actions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of actions."""
    return _names(ctx, "complete_actions", incomplete)


def workers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of workers that run."""
    return _names(ctx, "complete_workers", incomplete)


def limits(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of limits."""
    return _names(ctx, "complete_limits", incomplete)


def bulk_acts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of bulk acts that have not ended."""
    return _names(ctx, "complete_bulk_acts", incomplete)


def pausable(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tasks after `pause task`, queues after `pause queue`."""
    kinds = {"task": tasks, "queue": queues}
    found = kinds.get(ctx.params.get("kind") or "")
    return [] if found is None else found(ctx, incomplete)


def checks(incomplete: str) -> list[str]:
    """Checks of the doctor."""
    from tidemill.database.doctor import CHECKS

    return [check for check in CHECKS if check.startswith(incomplete)]


def _names(ctx: typer.Context, query: str, incomplete: str) -> list[str]:
    # Whatever goes wrong, a traceback would come between the words of a command.
    with suppress(Exception):
        conninfo = _conninfo(ctx.params.get("database"))
        if conninfo is not None:
            with psycopg.connect(make_conninfo(conninfo, connect_timeout=2), autocommit=True) as connection:
                connection.execute(_SETTINGS)
                rows = connection.execute(sql.query(query), {"start": incomplete}).fetchall()
            # The shell would obey other characters, or cut names at them.
            return [name for (name,) in rows if name.isprintable() and " " not in name]
    return []


def _conninfo(given: str | None) -> str | None:
    """Where to ask. An embedded server is asked if it is running, and not started for this."""
    named = given or os.environ.get("DATABASE_URL")
    return conninfos.read(named, "--database") if named else running_embedded()
