"""`tidemill worker --processes N`: several processes below a supervisor, and what can be done to each."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from chaos.records import Loss
from chaos.servers.programs import wait_for
from chaos.workers import Worker

_LOOK_SECONDS = 0.05
# The longest pause before a process that was killed six times in a row is started again, and more.
_REPLACE_SECONDS = 70
# The grace period of a worker, and more.
_STOP_SECONDS = 60


class SupervisedWorker(Worker):
    """A supervisor and its processes; it runs on Linux only, which tells who they are."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        losses: list[Loss],
        processes: int,
    ) -> None:
        self.processes = processes
        self._killed: set[int] = set()
        self._ended: dict[int, float] = {}
        self.watched: set[int] = set()
        """Processes whose ends are noticed, whoever ends them."""
        super().__init__(command, environment, log, losses)

    def start(self) -> None:
        super().start()
        threading.Thread(target=self._watch, args=[self.pid], daemon=True).start()

    def pids(self) -> list[int]:
        return children_of(self.pid)

    @property
    def running(self) -> int:
        return len(self.pids()) if self.alive else 0

    def kill(self) -> None:
        """Ends all of its processes at once, as the machine's end would."""
        self._is_down = True
        pids = self.pids()
        self._killed.update(pids)
        self._signal_group(signal.SIGKILL)
        self.process.wait()
        self._note_ends(pids)

    def kill_process(self) -> None:
        """Ends the youngest of its processes, which the supervisor replaces."""
        wait_for(lambda: bool(self.pids()), "a process to kill", _REPLACE_SECONDS)
        pid = self.pids()[-1]
        self._killed.add(pid)
        os.kill(pid, signal.SIGKILL)
        self._note_ends([pid])

    def kill_supervisor(self) -> None:
        """Ends the supervisor alone, and waits until its processes have stopped by themselves."""
        self._is_down = True
        pids = self.pids()
        self.process.kill()
        self.process.wait()
        _wait_for_end(pids)

    def terminate_group(self) -> None:
        """Asks all of its processes to stop, as a terminal and Docker do. Raises RuntimeError if it fails."""
        self._is_down = True
        self._signal_group(signal.SIGTERM)
        code = self.process.wait(_STOP_SECONDS)
        if code:
            raise RuntimeError(f"the worker ended with exit code {code}; see {self.log}")

    def freeze(self) -> None:
        """Stops all of its processes, as a paused container is stopped."""
        self._freeze([self.pid, *self.pids()])

    def freeze_process(self) -> None:
        """Stops one of its processes."""
        wait_for(lambda: bool(self.pids()), "a process to stop", _REPLACE_SECONDS)
        self._freeze(self.pids()[:1])

    def freeze_supervisor(self) -> None:
        """Stops the supervisor alone."""
        self._freeze([self.pid])

    def ask_to_stop(self) -> None:
        self._signal_group(signal.SIGCONT)
        super().ask_to_stop()

    def deaths(self) -> list[Loss]:
        """Its processes that were killed, or that ended by themselves, of which the supervisor tells."""
        log = self.log.read_text(errors="replace")
        return [
            Loss(pid, at)
            for pid, at in sorted(self._ended.items())
            if pid in self._killed or f"({pid}) was ended by" in log or f"({pid}) ended with exit" in log
        ]

    def _note_ends(self, pids: Sequence[int]) -> None:
        _wait_for_end(pids)
        for pid in pids:
            # It may have been too young to be watched.
            self._ended.setdefault(pid, time.monotonic())

    def _note_death(self, pid: int) -> None:
        """The supervisor itself runs no jobs."""

    def _watch(self, supervisor: int) -> None:
        """Notes at once when one of the processes has ended, until all have."""
        descriptors: dict[int, int] = {}
        while is_there(supervisor) or descriptors:
            for pid in children_of(supervisor):
                if pid not in self.watched:
                    with contextlib.suppress(ProcessLookupError):
                        descriptors[os.pidfd_open(pid)] = pid
                        self.watched.add(pid)
            for descriptor in select.select(list(descriptors), [], [], _LOOK_SECONDS)[0]:
                self._ended.setdefault(descriptors.pop(descriptor), time.monotonic())
                os.close(descriptor)


def _wait_for_end(pids: Iterable[int]) -> None:
    wait_for(lambda: not any(map(is_there, pids)), f"the processes {pids} to end", _STOP_SECONDS)


def children_of(pid: int) -> list[int]:
    """The children of a process that have not ended, the eldest first."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [child for child in map(int, found) if is_there(child)]


def is_there(pid: int) -> bool:
    """Whether a process has not ended; one that its parent has not looked after yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
