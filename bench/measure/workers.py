"""Worker processes of a measurement, and what they print."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.systems.base import OUT, System

_STOP_SECONDS = 10


class Started(NamedTuple):
    """A line that a worker printed when its task `started` began."""

    id: str
    at: float


class Worker:
    """A worker process; its output is read all the time, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[str], log: str) -> None:
        self.process, self._log = process, log
        self._lines: queue.Queue[Started | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def next_start(self, timeout: float = 30) -> Started:
        """The next start of a job that the worker reports."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty as error:
            raise RuntimeError(f"no job started within {timeout} s; see {self._log}") from error
        if line is None:
            raise RuntimeError(f"a worker ended; see {self._log}")
        return line

    def check(self) -> None:
        """Raises if it has ended by itself."""
        if self.process.poll() is not None:
            raise RuntimeError(f"a worker ended with code {self.process.returncode}; see {self._log}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match line.split():
                case ["started", id, at]:
                    self._lines.put(Started(id, float(at)))
        self._lines.put(None)


@contextlib.contextmanager
def running(
    system: System,
    conninfo: str,
    *,
    count: int = 1,
    concurrency: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[Worker]]:
    """So many worker processes; at the end they are asked to stop, and killed if they do not."""
    log = OUT / "logs" / f"{system.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    workers: list[Worker] = []
    with log.open("a") as errors:
        try:
            for _ in range(count):
                process = subprocess.Popen(
                    system.command(conninfo, concurrency),
                    cwd=OUT / system.name if (OUT / system.name).is_dir() else OUT,
                    env={**system.environment(conninfo), **(environment or {})},
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    # A Ctrl-C in the terminal must reach only us, and we must be able to kill its children.
                    start_new_session=True,
                )
                workers.append(Worker(process, str(log.relative_to(OUT.parent.parent))))
            yield workers
        finally:
            _stop([worker.process for worker in workers])


def _stop(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
