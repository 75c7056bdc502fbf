"""What every measured system can do. Done means the row is gone from the database."""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
OUT = HERE / "out"


class System(ABC):
    """A job queue, driven through its own worker and its own SQL."""

    name: str
    version: str
    add_one: str
    """SQL that adds one job with the parameter as its payload."""
    add_many: str
    """SQL that adds as many jobs as the parameter says, in one call."""
    left: str
    """SQL that is true while jobs are left."""

    @abstractmethod
    def install(self) -> None:
        """Makes it ready to run, from its registry."""

    @abstractmethod
    def prepare(self, conninfo: str) -> None:
        """Lays its schema."""

    @abstractmethod
    def worker(self, conninfo: str, *, once: bool) -> list[str]:
        """The command of a worker process. Its task `started` prints the payload's id when it starts."""

    def throughput(self, conninfo: str, jobs: int) -> float:
        """Jobs per second of one worker process, its start-up on an empty queue taken off."""
        startup = self._run_once(conninfo)
        self._execute(conninfo, self.add_many, jobs)
        whole = self._run_once(conninfo)
        assert not self._execute(conninfo, self.left), f"{self.name} has left jobs"
        return jobs / (whole - startup)

    def bulk_add(self, conninfo: str, jobs: int) -> float:
        """Jobs per second of one call that adds them all."""
        started = time.perf_counter()
        self._execute(conninfo, self.add_many, jobs)
        return jobs / (time.perf_counter() - started)

    def single_add(self, conninfo: str, clients: int, calls: int) -> float:
        """Commits per second of clients that each add one job at a time, beside a worker."""
        with self._listening(conninfo):
            ready = threading.Barrier(clients + 1)

            def add() -> None:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    ready.wait()
                    for number in range(calls):
                        connection.execute(self.add_one.encode(), [json.dumps({"id": number})])

            threads = [threading.Thread(target=add) for _ in range(clients)]
            for thread in threads:
                thread.start()
            ready.wait()
            started = time.perf_counter()
            for thread in threads:
                thread.join()
            return clients * calls / (time.perf_counter() - started)

    def latency(self, conninfo: str, calls: int) -> float:
        """Median milliseconds from before the add to the task's start in an idle worker."""
        samples = []
        with self._listening(conninfo) as process, psycopg.connect(conninfo, autocommit=True) as connection:
            assert process.stdout is not None
            for number in range(calls):
                started = time.perf_counter()
                connection.execute(self.add_one.encode(), [json.dumps({"id": number})])
                while process.stdout.readline().strip() != f"started {number}":
                    pass
                samples.append((time.perf_counter() - started) * 1000)
        return statistics.median(samples[calls // 10 :])

    def _run_once(self, conninfo: str) -> float:
        started = time.perf_counter()
        subprocess.run(self.worker(conninfo, once=True), check=True, cwd=OUT, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    def _listening(self, conninfo: str) -> _Listening:
        return _Listening(self, conninfo)

    @staticmethod
    def _execute(conninfo: str, statement: str, *params: object) -> object:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            row = connection.execute(statement.encode(), params or None).fetchone()
            return row[0] if row else None


class _Listening:
    """A running worker that has shown that it runs jobs."""

    def __init__(self, system: System, conninfo: str) -> None:
        self._system, self._conninfo = system, conninfo

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._system.worker(self._conninfo, once=False), cwd=OUT, stdout=subprocess.PIPE, text=True
        )
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(self._system.add_one.encode(), ['{"id": "first"}'])
        assert self._process.stdout is not None
        while self._process.stdout.readline().strip() != "started first":
            assert self._process.poll() is None, f"the worker of {self._system.name} ended"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        threading.Thread(target=self._process.communicate, daemon=True).start()
        self._process.wait()
