"""A command that draws on a terminal of our own, and what the terminal shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

_ORDER = re.compile(r"\x1b\[(\d+);1H\x1b\[2K([^\x1b]*(?:\x1b\[[\d;]*m[^\x1b]*)*)|(\x1b\[2J)")
_STYLE = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")


def _take_terminal() -> None:
    """Makes it the terminal of a session of its own, so that it sends the signals of keys and sizes."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class LiveTerminal:
    """A process on a terminal; what it sends is read in a thread, so that it never waits."""

    def __init__(
        self, command: Sequence[str], directory: Path, environment: dict[str, str], size: tuple[int, int]
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(size)
        self.modes = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_take_terminal,
        )
        self.sent = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # The end of a terminal is an error on Linux.
        with contextlib.suppress(OSError):
            while part := os.read(self._ours, 65536):
                self.sent += part

    def resize(self, size: tuple[int, int]) -> None:
        """Columns and lines."""
        columns, lines = size
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def screen(self) -> list[str]:
        """The lines that the process has drawn, without styles."""
        lines: dict[int, str] = {}
        for number, text, clear in _ORDER.findall(self.sent.decode(errors="replace")):
            if clear:
                lines.clear()
            else:
                lines[int(number)] = _STYLE.sub("", text).rstrip()
        return [lines.get(number, "") for number in range(1, max(lines, default=0) + 1)]

    def shows(self, words: str) -> list[str]:
        """The screen, as soon as it has these words."""
        return wait_until(
            lambda: shown if words in "\n".join(shown := self.screen()) else [],
            f"{words!r} on the screen",
        )

    def ended(self) -> int:
        """The exit code; the terminal is as it was."""
        code = self.process.wait(30)
        assert termios.tcgetattr(self._theirs) == self.modes
        # The last words are those that leave the other screen and show the cursor.
        wait_until(lambda: self.sent.rstrip().endswith(b"\x1b[?1049l"), "the screen to be left")
        assert b"\x1b[?25h" in self.sent
        return code

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._theirs)
        self._reader.join(10)
        os.close(self._ours)


@contextmanager
def live(
    command: Sequence[str], directory: Path, environment: dict[str, str], size: tuple[int, int] = (80, 24)
) -> Iterator[LiveTerminal]:
    """Runs a command on a terminal of so many columns and lines."""
    terminal = LiveTerminal(command, directory, environment, size)
    try:
        yield terminal
    finally:
        terminal.close()
