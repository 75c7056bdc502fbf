"""Fixtures of the tests of the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.servers import Server


@pytest.fixture
def dump(server: Server) -> Callable[[str], str]:
    """Writes all definitions of a database as SQL, in an order that depends on nothing else."""

    def write(conninfo: str) -> str:
        text = server.program("pg_dump", "--schema-only", conninfo)
        # Newer versions guard their scripts with a word that differs each time.
        return "\n".join(line for line in text.splitlines() if "restrict " not in line)

    return write


@pytest.fixture
def sql_ascii_database(server: Server) -> Iterator[str]:
    """A database whose texts may be any bytes."""
    with server.superuser() as connection:
        connection.execute(
            "create database ascii template template0 encoding 'SQL_ASCII' locale 'C' owner tidemill_owner"
        )
    yield server.conninfo("ascii")
    server.drop("ascii")


@pytest.fixture
def stranger(server: Server) -> Iterator[str]:
    """A role that may log in and no more."""
    with server.role() as role:
        yield role
