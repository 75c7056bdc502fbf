"""What a worker's sweeps ask for, and when the next one is due."""

from __future__ import annotations

import psycopg
import pytest

from tests.queue.jobs import kept_lease
from tidemill.queue import sweep as module
from tidemill.queue.sweep import Sweep

HELD = "select count(*) from tidemill._jobs where locked_by is not null"


def leave(connection: psycopg.Connection) -> None:
    """A job that a worker holds which is not listed any more."""
    connection.execute("select tidemill.add_job('t')")
    connection.execute(
        "update tidemill._jobs set locked_at = now() - interval '1 hour', locked_by = 'gone',"
        " claim_token = 1, attempts = 1"
    )


def test_leases_of_workers_that_are_not_listed_are_looked_for_less_often(
    connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(kept_lease(), interval=600, on_safety=lambda safe: None)
    for expected in (0, 2):
        leave(connection)
        sweep.run(connection)
        assert connection.execute(HELD).fetchone() == (expected,)
    monkeypatch.setattr(module, "_UNKNOWN_SECONDS", 0.0)
    sweep = Sweep(kept_lease(), interval=600, on_safety=lambda safe: None)
    for _ in range(2):
        leave(connection)
        sweep.run(connection)
        assert connection.execute(HELD).fetchone() == (0,)
