"""Worker processes, as users start them, and what can be done to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.records import Loss

_STOP_SECONDS = 20


class Worker:
    """One worker, which may be started again after its death; its log goes into one file."""

    processes = 1
    """How many processes run its jobs."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, losses: list[Loss]
    ) -> None:
        self._command, self._environment, self.log, self._losses = command, environment, log, losses
        self._stopped_at = 0.0
        self._stopped: list[int] = []
        self.ends = 0
        """How often it has ended by itself, as far as `start_if_ended` was told to look."""
        self.start()

    def start(self) -> None:
        self._is_down = False
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal must reach only us, and we must be able to kill its children.
                start_new_session=True,
            )
        threading.Thread(target=self._wait, args=[self.process], daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def pids(self) -> list[int]:
        """The processes that run its jobs."""
        return [self.pid]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def running(self) -> int:
        """How many processes run its jobs just now."""
        return int(self.alive)

    def kill(self) -> None:
        """Ends it at once, as the machine's out-of-memory killer would."""
        self._is_down = True
        self._signal(signal.SIGKILL)
        self.process.wait()

    def kill_process(self) -> None:
        """Ends one of its processes; by default it has no other."""
        self.kill()

    def start_if_down(self) -> None:
        """Starts it again if we have ended all of it: one of several processes has its supervisor."""
        if self._is_down:
            self.start()

    def start_if_ended(self) -> None:
        """Starts it again, as a supervisor does, unless we have ended it."""
        if not self.alive and not self._is_down:
            self.ends += 1
            self.start()

    def freeze(self) -> None:
        """Stops it, as a paused container is stopped."""
        self._freeze([self.pid])

    def freeze_process(self) -> None:
        """Stops one of its processes; by default it has no other."""
        self.freeze()

    def thaw(self) -> None:
        """Lets go on what was stopped; of that, only what runs jobs was a loss."""
        now, pids = time.monotonic(), self.pids()
        self._losses += [
            Loss(pid, self._stopped_at, now, frozen=True) for pid in self._stopped if pid in pids
        ]
        for pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped = []

    def deaths(self) -> list[Loss]:
        """Losses of its processes beyond those noted in `losses`."""
        return []

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Waits for its end until the deadline, and kills it then."""
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._signal_group(signal.SIGKILL)
            self.process.wait()

    def lines_since(self, offset: int) -> int:
        """The most warnings and errors that one of its processes has logged since its log had this size."""
        with self.log.open("rb") as log:
            log.seek(offset)
            lines = log.read().decode(errors="replace").splitlines()
        counted = Counter(process for process in map(_counts_for, lines) if process is not None)
        return max(counted.values(), default=0)

    def _freeze(self, pids: Sequence[int]) -> None:
        self._stopped_at, self._stopped = time.monotonic(), list(pids)
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if code:
            self._note_death(process.pid)

    def _note_death(self, pid: int) -> None:
        self._losses.append(Loss(pid, time.monotonic()))


def stop(workers: Sequence[Worker]) -> None:
    """Asks all to stop, and kills those that do not."""
    for worker in workers:
        worker.ask_to_stop()
    deadline = time.monotonic() + _STOP_SECONDS
    for worker in workers:
        worker.end(deadline)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _counts_for(line: str) -> int | None:
    """Of which process a line is a warning or error of its own: each failed attempt of a job has its own.

    0: of the supervisor, or the only one. None: it is none.
    """
    try:
        fields = json.loads(line)
        if fields["level"] in ("warning", "error", "critical") and "job_id" not in fields:
            return int(fields.get("process", 0))
        return None
    except (ValueError, KeyError, TypeError):
        return 0 if line.strip() else None
