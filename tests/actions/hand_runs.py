"""Actions that are run by hand, and one that waits until the test lets it end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.waiting import wait_until

Connection = psycopg.Connection

LEFT = "the run ended with an error that its own session saw"
# Where a hand run waits until the test releases it.
GATE = "perform pg_advisory_lock(77); perform pg_advisory_unlock(77);"


def call(connection: Connection, action_id: int) -> None:
    """In one string, as psql does."""
    connection.execute(f"call tidemill.run_action({action_id})".encode())


def values(connection: Connection, query: str) -> list[Any]:
    return [value for (value,) in connection.execute(query.encode())]


@contextmanager
def at_the_gate(connection: Connection, other: Connection, action_id: int) -> Iterator[Future[None]]:
    """An action that is running in `other`; it passes the gate at the end of the block."""
    connection.execute("select pg_advisory_lock(77)")
    waiting = (
        "select from pg_locks where locktype = 'advisory' and objid = 77 and not granted"
        f" and pid = {other.info.backend_pid}"
    )
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(call, other, action_id)
        try:
            wait_until(
                lambda: done.done() or connection.execute(waiting.encode()).fetchone() is not None,
                "the run to reach the gate",
            )
            yield done
        finally:
            connection.execute("select pg_advisory_unlock(77)")
