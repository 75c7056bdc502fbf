"""A role that may create in `public` cannot lead our statements to code of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.security.decoys import caught, lay_decoys
from tests.support.everything import everything
from tests.support.proxy import pooler
from tests.support.servers import EMPTY, Server

pytestmark = [pytest.mark.versions(18), pytest.mark.slow]

_TEMPLATE = "tidemill_decoys"


@pytest.fixture(scope="module")
def template(server: Server) -> str:
    """The name of a database with decoys and no Tidemill."""
    with server.superuser() as connection:
        connection.execute(f"create database {_TEMPLATE} template {EMPTY}".encode())
    with server.superuser(_TEMPLATE) as connection:
        lay_decoys(connection)
    return _TEMPLATE


@pytest.fixture
def name(server: Server, template: str) -> Iterator[str]:
    """Such a database."""
    made = server.clone(template)
    yield made
    server.drop(made)


@pytest.fixture
def owner(server: Server) -> Iterator[str]:
    with server.role() as name:
        yield name


async def test_no_decoy_is_called(server: Server, name: str, owner: str, tmp_path: Path) -> None:
    """Where they come behind pg_catalog, and capture the calls whose types are not quite its functions'."""
    try:
        await everything(server.conninfo(name, "postgres"), tmp_path, owner)
    finally:
        with server.superuser(name) as connection:
            assert caught(connection) is None


async def test_nor_before_pg_catalog_and_behind_a_pooler(
    server: Server, name: str, owner: str, tmp_path: Path
) -> None:
    """Where they capture all calls, and sessions keep the database's search path."""
    with server.superuser() as connection:
        statement = sql.SQL("alter database {} set search_path = public, pg_catalog")
        connection.execute(statement.format(sql.Identifier(name)))
    try:
        with pooler(server.conninfo(name, "postgres")) as pooled:
            await everything(pooled.conninfo, tmp_path, owner)
    finally:
        with server.superuser(name) as connection:
            assert caught(connection) is None
