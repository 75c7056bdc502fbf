"""Worker processes, as users start them, and what can be done to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.records import Loss

_STOP_SECONDS = 20


class Worker:
    """One worker, which may be started again after its death; its log goes into one file."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, losses: list[Loss]
    ) -> None:
        self._command, self._environment, self.log, self._losses = command, environment, log, losses
        self._stopped_at: float | None = None
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
        threading.Thread(target=self._note_death, args=[self.process], daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Ends it at once, as the machine's out-of-memory killer would."""
        self._is_down = True
        self._signal(signal.SIGKILL)
        self.process.wait()

    def start_if_ended(self) -> None:
        """Starts it again, as a supervisor does, unless `kill` has ended it."""
        if not self.alive and not self._is_down:
            self.ends += 1
            self.start()

    def freeze(self) -> None:
        """Stops it, as a paused container is stopped."""
        self._stopped_at = time.monotonic()
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on after `freeze`."""
        if self._stopped_at is not None:
            self._losses.append(Loss(self.pid, self._stopped_at, time.monotonic(), frozen=True))
            self._stopped_at = None
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Waits for its end until the deadline, and kills it then."""
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def lines_since(self, offset: int) -> int:
        """How many warnings and errors it has logged since its log had this size."""
        with self.log.open("rb") as log:
            log.seek(offset)
            return sum(_counts(line) for line in log.read().decode(errors="replace").splitlines())

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def _note_death(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if code:
            self._losses.append(Loss(process.pid, time.monotonic()))


def stop(workers: Sequence[Worker]) -> None:
    """Asks all to stop, and kills those that do not."""
    for worker in workers:
        worker.ask_to_stop()
    deadline = time.monotonic() + _STOP_SECONDS
    for worker in workers:
        worker.end(deadline)


def _counts(line: str) -> bool:
    """Whether a line is a warning or error of the worker's own: each failed attempt of a job has its own."""
    try:
        fields = json.loads(line)
        return fields["level"] in ("warning", "error", "critical") and "job_id" not in fields
    except (ValueError, KeyError, TypeError):
        return bool(line.strip())
