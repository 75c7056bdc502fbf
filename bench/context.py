"""What a shape measures with: systems, databases, workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.measure.databases import Databases
from bench.measure.drain import Drain, Watch
from bench.measure.workers import Worker, running
from bench.systems.base import Can, System


@dataclass(frozen=True)
class Bench:
    """The systems, the server, and how much to measure."""

    databases: Databases
    systems: list[System]
    jobs: int
    cap: float
    """Seconds after which the measurement of a rate ends, done or not."""
    full: bool = False

    def able(self, needs: frozenset[Can]) -> list[System]:
        """The systems that can do all of these."""
        return [system for system in self.systems if needs <= system.can]

    def fill(self, system: System, conninfo: str, jobs: int, task: str = "noop", **fields: str) -> None:
        """Adds jobs by the system's fastest way."""
        if Can.ADD_MANY_IN_SQL not in system.can:
            assert task == "noop"
            assert not fields
            system.add_from_language(conninfo, jobs)
            return
        with psycopg.connect(conninfo, autocommit=True) as connection:
            add_many(connection, system, jobs, task, **fields)

    def throughput(
        self,
        system: System,
        conninfo: str,
        *,
        count: int = 1,
        concurrency: int | None = None,
        first: int | None = None,
        after: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> tuple[Drain, list[int]]:
        """Starts workers on the jobs in the table; returns their progress, and each one's peak RSS in KB."""
        with psycopg.connect(conninfo, autocommit=True) as connection:
            watch = Watch(connection, system, first=first, after=after)
            with running(
                system, conninfo, count=count, concurrency=concurrency, environment=environment
            ) as workers:
                drain = watch.until_done(self.cap, lambda: check(workers))
                return drain, [peak_memory(worker.process.pid) for worker in workers]


_ONE_CALL = 100_000


def add_many(
    connection: psycopg.Connection[Any], system: System, jobs: int, task: str, **fields: str
) -> None:
    """Adds jobs by SQL calls of at most 100k jobs."""
    values = {"queue": "null", "run_at": "null", "priority": "null", **fields}
    for start in range(0, jobs, _ONE_CALL):
        number = min(_ONE_CALL, jobs - start)
        connection.execute(system.add_many.format(task=task, jobs=number, **values).encode())


def check(workers: list[Worker]) -> None:
    """Raises RuntimeError if a worker has ended."""
    for worker in workers:
        worker.check()


def peak_memory(pid: int) -> int:
    """The peak of a process's resident memory so far, in KB."""
    return _status(pid, "VmHWM")


def memory(pid: int) -> int:
    """A process's resident memory now, in KB."""
    return _status(pid, "VmRSS")


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


@contextmanager
def warm(system: System, conninfo: str, concurrency: int | None = None) -> Iterator[Worker]:
    """One idle worker that has already run a job."""
    with (
        running(system, conninfo, concurrency=concurrency) as [worker],
        psycopg.connect(conninfo, autocommit=True) as connection,
    ):
        connection.execute(system.add_one.format(task="started", payload='{"id": "first"}').encode())
        worker.next_start()
        yield worker
