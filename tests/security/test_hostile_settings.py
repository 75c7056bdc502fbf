"""Settings of a role or database that change what statements mean: Tidemill does the same under all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.support.dialects import open_public
from tests.support.everything import everything
from tests.support.proxy import pooler
from tests.support.servers import OWNER, Server

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


@pytest.mark.versions(18, 16)
@pytest.mark.slow
async def test_all_does_the_same(hostile: str, owner: str, tmp_path: Path) -> None:
    await everything(hostile, tmp_path, owner)


@pytest.mark.versions(18)
@pytest.mark.slow
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
