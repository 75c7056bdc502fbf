"""Fixtures for tests of the SQL functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.sql.calls import Queue
from tests.support.servers import OWNER, Server


@pytest.fixture
def queue(connection: psycopg.Connection) -> Queue:
    return Queue(connection)


@pytest.fixture
def another(database: str) -> Iterator[Callable[[], Queue]]:
    """Opens one more autocommit connection to the test's database."""
    with ExitStack() as stack:

        def opened() -> Queue:
            return Queue(stack.enter_context(psycopg.connect(database, autocommit=True)))

        yield opened


@pytest.fixture
def server_role(server: Server, database: str) -> Iterator[str]:
    """A role without any rights, which the test's connection may become."""
    name = "tidemill_producer"
    with server.superuser() as connection:
        connection.execute(f"create role {name}".encode())
        connection.execute(f"grant {name} to {OWNER}".encode())
    yield name
    with server.superuser(str(conninfo_to_dict(database)["dbname"])) as connection:
        connection.execute(f"drop owned by {name}".encode())
        connection.execute(f"drop role {name}".encode())
