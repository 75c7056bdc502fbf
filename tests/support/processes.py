"""Workers in processes of their own, which a test may kill, stop and wake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support import worker_main
from tests.support.waiting import wait_until

DEFAULTS: dict[str, Any] = {"lease": 30.0, "heartbeat_interval": 0.2, "poll_interval": 0.2, "migrate": False}
# For workers that are meant to lose their jobs; too short to rely on elsewhere.
SHORT_LEASE = 1.0


class WorkerProcess:
    """A running worker; see `worker_process`."""

    def __init__(self, program: str, conninfo: str, options: dict[str, Any], log: Path) -> None:
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, program, conninfo, json.dumps({**DEFAULTS, **options})],
                stderr=stderr,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text()

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def signal(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    def wait(self) -> int:
        """Waits for its end; returns the exit code."""
        try:
            return self._process.wait(90)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the worker did not end; its log:\n{self.log}") from error

    def wait_log(self, text: str) -> None:
        """Waits until its log has a text."""
        wait_until(lambda: text in self.log, f"{text!r} in the worker's log")

    def end(self) -> None:
        """Kills it, running or stopped."""
        self._process.kill()
        self._process.wait()


@contextmanager
def worker_process(
    conninfo: str, *, program: str = worker_main.__file__, **options: Any
) -> Iterator[WorkerProcess]:
    """Starts a worker process; it is gone after the block. The program takes what worker_main takes."""
    with tempfile.TemporaryDirectory(prefix="worker-") as directory:
        process = WorkerProcess(program, conninfo, options, Path(directory) / "log")
        try:
            yield process
        finally:
            process.end()


def make_runs(connection: psycopg.Connection) -> None:
    """Makes the table in which worker_main's tasks tell of themselves."""
    connection.execute("create table runs (job_id bigint not null, worker text not null)")


def runs(connection: psycopg.Connection) -> list[int]:
    """The ids of jobs that began, in their order, as often as they began."""
    return [row[0] for row in connection.execute("select job_id from runs order by job_id")]


def leased(connection: psycopg.Connection) -> int:
    """How many jobs are leased: some that run by express are not yet."""
    return connection.execute("select from tidemill._jobs where locked_at is not null").rowcount


def settled(connection: psycopg.Connection) -> bool:
    """Whether no job is left."""
    return connection.execute("select from tidemill._jobs limit 1").rowcount == 0
