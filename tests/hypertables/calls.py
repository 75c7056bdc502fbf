"""Calls of the functions of hypertables, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest


def run(connection: psycopg.Connection, text: str) -> list[tuple[Any, ...]]:
    """Runs statements; returns the rows of the first."""
    cursor = connection.execute(text.encode())
    return cursor.fetchall() if cursor.description else []


def value(connection: psycopg.Connection, text: str) -> Any:
    [[found]] = run(connection, text)
    return found


def values(connection: psycopg.Connection, text: str) -> list[Any]:
    return [found for (found,) in run(connection, text)]


def make(connection: psycopg.Connection, arguments: str) -> None:
    """Makes a hypertable by these arguments."""
    run(connection, f"select * from tidemill.create_hypertable({arguments})")


@contextmanager
def refused(sqlstate: str, message: str) -> Iterator[None]:
    """Expects an error that has this in its message, and a hint."""
    with pytest.raises(psycopg.Error) as raised:
        yield
    assert (raised.value.sqlstate, message in str(raised.value.diag.message_primary)) == (
        sqlstate,
        True,
    ), raised.value
    assert raised.value.diag.message_hint, raised.value
