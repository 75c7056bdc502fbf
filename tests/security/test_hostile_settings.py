"""Settings of a role or database that change what statements mean: Tidemill does the same under all."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.support.dialects import open_public
from tests.support.everything import everything
from tests.support.proxy import pooler
from tests.support.running import eventually, run_all, running, within
from tests.support.servers import OWNER, Server
from tidemill import App
from tidemill.errors import DatabaseUnavailableError

# Each of them a role may choose for itself, and most of them somebody has chosen.
HOSTILE = {
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "constraint_exclusion": "on",
    "datestyle": "SQL, DMY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "enable_indexscan": "off",
    "escape_string_warning": "off",
    "extra_float_digits": "-15",
    "from_collapse_limit": "1",
    "intervalstyle": "sql_standard",
    "join_collapse_limit": "1",
    "plan_cache_mode": "force_custom_plan",
    "plpgsql.extra_errors": "all",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "standard_conforming_strings": "off",
    "timezone": "Pacific/Kiritimati",
    "transform_null_equals": "on",
    "work_mem": "64kB",
    "xmloption": "document",
}


@pytest.fixture(params=["database", "role"])
def hostile(request: pytest.FixtureRequest, server: Server, empty_database: str) -> Iterator[str]:
    """A database without Tidemill in which all sessions of its owner have these settings."""
    open_public(server, empty_database)
    name = str(conninfo_to_dict(empty_database)["dbname"])
    target = sql.SQL("database {}" if request.param == "database" else "role {}").format(
        sql.Identifier(name if request.param == "database" else OWNER)
    )
    try:
        with server.superuser() as superuser:
            for setting, value in HOSTILE.items():
                superuser.execute(
                    sql.SQL("alter {} set {} = {}").format(
                        target, sql.SQL(setting), sql.SQL(value if setting == "datestyle" else f"'{value}'")
                    )
                )
            # Only a superuser may.
            superuser.execute(sql.SQL("alter {} set plpgsql.variable_conflict = use_column").format(target))
        yield empty_database
    finally:
        with server.superuser() as superuser:
            superuser.execute(sql.SQL("alter {} reset all").format(target))


@pytest.fixture
def owner(server: Server) -> Iterator[str]:
    with server.role() as name, server.superuser() as superuser:
        superuser.execute(f"grant {name} to {OWNER}".encode())
        yield name


@pytest.mark.versions(18)
@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["database"], indirect=True)
async def test_all_does_the_same(hostile: str, owner: str, tmp_path: Path) -> None:
    await everything(hostile, tmp_path, owner)


@pytest.mark.versions(18)
@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["role"], indirect=True)
async def test_behind_a_pooler_too(hostile: str, owner: str, tmp_path: Path) -> None:
    with pooler(hostile) as pooled:
        await everything(pooled.conninfo, tmp_path, owner)


def test_no_function_depends_on_how_strings_are_read(connection: psycopg.Connection) -> None:
    """A backslash in a plain string would mean something else with standard_conforming_strings = off."""
    found = connection.execute(
        "select p.oid::regprocedure::text, p.prosrc from pg_proc p"
        " where p.pronamespace = 'tidemill'::regnamespace"
        " and not 'standard_conforming_strings=on' = any(coalesce(p.proconfig, '{}'))"
    ).fetchall()
    plain = r"(?<![eE])'(?:[^'\\]|'')*\\"
    for name, body in found:
        text = re.sub(r"--[^\n]*|[eE]'(?:[^'\\]|''|\\.)*'", "", body)
        assert re.search(plain, text) is None, name


def set_for_owner(superuser: psycopg.Connection, **settings: str) -> None:
    """For the sessions of the database's owner that are opened from now on."""
    for setting, value in settings.items():
        superuser.execute(
            f"alter role {OWNER} in database {superuser.info.dbname} set {setting} = '{value}'".encode()
        )


@pytest.mark.versions(18)
@pytest.mark.parametrize("lane", ["lease", "express"])
async def test_timeouts_end_no_session_of_a_worker(
    database: str,
    connection: psycopg.Connection,
    superuser: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    lane: str,
) -> None:
    timeouts = [
        "statement_timeout",
        "lock_timeout",
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
    ]
    if superuser.info.server_version >= 170000:
        timeouts.append("transaction_timeout")
    # Long enough for a statement on a machine with much to do.
    set_for_owner(superuser, **dict.fromkeys(timeouts, "400ms"))
    begun, ends = asyncio.Event(), asyncio.Event()
    async with App(database) as app:

        @app.task
        async def waits(payload: Any) -> None:
            begun.set()
            await ends.wait()

        connection.execute("select tidemill.add_job('waits')")
        # The listener is silent for longer than that, too.
        async with running(app, lane=lane, heartbeat_interval=5):
            await within(begun)
            old = (
                "select from pg_stat_activity where datname = current_database() and state like 'idle%'"
                " and application_name like 'worker-%'"
                " and state_change < clock_timestamp() - interval '0.8 s'"
            )
            await eventually(lambda: connection.execute(old.encode()).rowcount > 0, "an idle session")
            ends.set()
            await eventually(
                lambda: connection.execute("select from tidemill._jobs").rowcount == 0, "the end"
            )
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.versions(18)
async def test_a_read_only_default_is_respected_and_told(
    database: str, connection: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    """Hosts set it when a disk is full; then nothing counts as a failure of jobs and actions."""
    connection.execute("create procedure app.work(integer, jsonb) language sql as 'select'")
    connection.execute("select tidemill.add_action('app.work', '1 hour'), tidemill.add_job('t')")
    set_for_owner(superuser, default_transaction_read_only="on")
    async with App(database) as app:
        app.task("t")(lambda payload: None)
        with pytest.raises(DatabaseUnavailableError, match="default_transaction_read_only"):
            await run_all(app)
    assert connection.execute("select attempts from tidemill.jobs").fetchall() == [(0,)]
    assert connection.execute("select from tidemill.action_history").rowcount == 0
