"""A server that restarts, crashes or is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from chaos.failover import FailoverServer
from chaos.load import Job
from chaos.stage import Stage

# Beyond the numbers of the mix.
_FIRST = 2_000_000
_AT_ONCE = 20
_FILL_SECONDS = 60


def restart(mode: str) -> Callable[[Stage], None]:
    """Restarts the server."""

    def again(stage: Stage) -> None:
        with stage.fault():
            stage.server.restart(mode)

    return again


def crash(stage: Stage) -> None:
    """Kills the server's processes, and starts it again."""
    with stage.fault():
        stage.server.crash()


def away(stage: Stage) -> None:
    """Stops the server for longer than a lease."""
    with stage.fault():
        stage.server.stop()
        stage.hold(stage.size.past_lease)
        stage.server.start()


def restart_while_idle(stage: Stage) -> None:
    """Restarts the server while nothing runs; then 20 jobs with one attempt come at once."""
    producer = stage.producer()
    with stage.fault():
        stage.server.restart("fast")
        stage.hold(1)
        producer.add_together(
            [
                Job("plain" if number % 2 else "quick", number, attempts=1)
                for number in range(_FIRST, _FIRST + _AT_ONCE)
            ]
        )
    producer.close()


def step_clock(seconds: float) -> Callable[[Stage], None]:
    """Steps the server's wall clock."""

    def step(stage: Stage) -> None:
        with stage.fault():
            stage.server.step_clock(seconds)

    return step


def fill_wal_disk(stage: Stage) -> None:
    """Fills the disk of the WAL until the server ends, and frees it after a few seconds.

    Raises RuntimeError if the server did not end.
    """
    with stage.fault():
        stage.server.fill_wal_disk()
        deadline = time.monotonic() + _FILL_SECONDS
        while not stage.server.wal_is_full():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server did not end within {_FILL_SECONDS} s of a full disk")
            _write_wal(stage)
            stage.hold(0.1)
        stage.hold(5)
        stage.server.free_wal_disk()


def _write_wal(stage: Stage) -> None:
    """Writes some MB, so that what the server still has of WAL files is soon used up."""
    with suppress(psycopg.Error), stage.admin() as connection:
        connection.execute("select pg_switch_wal()")
        connection.execute(
            "select pg_logical_emit_message(true, 'chaos', repeat('x', 1000000)) from generate_series(1, 8)"
        )


def fail_over(stage: Stage) -> None:
    """Kills the primary, promotes its asynchronous standby, and has all connect to that."""
    assert isinstance(stage.server, FailoverServer)
    with stage.fault():
        stage.server.fail_over()
