"""Roles that attack, and what they attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.servers import Server

# What a role of its own has: a schema, and a routine that would run with the rights of an action's owner.
_HOME = """
    create schema {0} authorization {0};
    set role {0};
    create procedure {0}.work(integer, jsonb) language sql as 'select';
    reset role;
"""


@pytest.fixture
def superuser(superuser_conninfo: str) -> Iterator[psycopg.Connection]:
    """A superuser's session in `database`."""
    with psycopg.connect(superuser_conninfo, autocommit=True) as opened:
        yield opened


@pytest.fixture
def new_role(
    server: Server, database: str, connection: psycopg.Connection, superuser: psycopg.Connection
) -> Iterator[Callable[[bool], psycopg.Connection]]:
    """Makes roles with a schema of their own; True: with grant_actions."""
    with ExitStack() as stack:

        def make(granted: bool) -> psycopg.Connection:
            name = stack.enter_context(server.role())
            superuser.execute(_HOME.format(name).encode())
            if granted:
                connection.execute("select tidemill.grant_actions(%s::regrole)", [name])
            return stack.enter_context(psycopg.connect(make_conninfo(database, user=name), autocommit=True))

        yield make


@pytest.fixture
def attacker(new_role: Callable[[bool], psycopg.Connection]) -> psycopg.Connection:
    """A role with grant_actions and nothing else."""
    return new_role(True)


@pytest.fixture
def stranger(new_role: Callable[[bool], psycopg.Connection]) -> psycopg.Connection:
    """A role without any grant on Tidemill."""
    return new_role(False)
