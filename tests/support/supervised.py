"""`tidemill worker` with several processes, as users start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from chaos.supervised import children_of
from tests.support import commands
from tests.support.commands import CommandLine
from tests.support.waiting import wait_until


class Supervised:
    """A supervisor, in a process group of its own, and its log."""

    def __init__(self, cli: CommandLine, *options: str) -> None:
        self._log = cli.directory / "log"
        with self._log.open("w") as stderr:
            self.process = subprocess.Popen(
                [*commands.PROGRAM, "worker", *options],
                cwd=cli.directory,
                env=cli.environment(),
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def until(self, pattern: str, count: int = 1) -> list[str]:
        """Waits until so many lines match; returns them."""

        def found() -> list[str]:
            return [line for line in self.log.splitlines() if re.search(pattern, line)]

        def enough() -> bool:
            assert self.process.poll() is None or len(found()) >= count, self.log
            return len(found()) >= count

        wait_until(enough, f"{count} of {pattern!r} in {self.log}")
        return found()

    def code(self) -> int:
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.log) from None

    def children(self) -> list[int]:
        """The worker processes."""
        return children_of(self.process.pid)


@contextmanager
def supervised(cli: CommandLine, *options: str) -> Iterator[Supervised]:
    started = Supervised(cli, *options)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait()
