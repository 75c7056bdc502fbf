"""Runs shell commands on a terminal of our own, as a reader of the docs does."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 90.0
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?")
_DISTANCE = re.compile(r"\b(in \d+(\.\d+)? (ms|s|min|h)|\d+ (s|min|h) ago|now)\b")


@dataclass
class Terminal:
    """A shell whose directory is kept from one command to the next."""

    directory: Path
    environment: dict[str, str]

    def run(self, command: str) -> str:
        """Runs one command line; returns what the terminal shows. It must succeed."""
        code, shown = self._run(command)
        assert code == 0, f"$ {command}\nended with {code}:\n{shown}"
        return shown

    def _run(self, command: str) -> tuple[int, str]:
        state = self.directory / ".cwd"
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", f"{command}\ncode=$?; pwd >{shlex.quote(str(state))}; exit $code"],
            cwd=self.directory,
            env={**self.environment, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "220", "PAGER": "cat"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        deadline = time.monotonic() + _PATIENCE
        shown = b""
        # The end of a terminal is an error on Linux.
        with contextlib.suppress(OSError):
            while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
                part = os.read(ours, 65536)
                if not part:
                    break
                shown += part
        os.close(ours)
        code = process.wait(max(0.1, deadline - time.monotonic()))
        if state.exists():
            directory = Path(state.read_text().rstrip("\n"))
            state.unlink()
            self.directory = directory
        return code, _screen(shown.decode(errors="replace"))


def _screen(sent: str) -> str:
    """What is left on the screen: progress bars have come and gone."""
    lines, row, column = [""], 0, 0
    for escape, order, text in re.findall(r"(\x1b\[[\d;?]*([A-Za-z]))|(\r|\n|[^\x1b\r\n]+|\x1b)", sent):
        if order == "A":
            row = max(0, row - int(re.sub(r"\D", "", escape) or 1))
        elif order == "K":
            lines[row] = ""
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif text and text != "\x1b":
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    return "\n".join(lines)


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown below it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif line.startswith("> ") and not found[-1][1]:
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    return [("\n".join(command), "\n".join(output)) for command, output in found]


def agrees(expected: str, shown: str) -> bool:
    """Whether a command showed what a page says, up to times, ids of workers and spaces.

    `...` stands for anything; alone on a line for any number of lines.
    """
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, re.split(r" ?\.\.\.", line))) + r"\n"
        for line in _normal(expected)
    )
    return re.fullmatch(pattern, "".join(line + "\n" for line in _normal(shown))) is not None


def _normal(text: str) -> list[str]:
    lines = []
    for line in text.strip().splitlines():
        plain = _TIME.sub("TIME", line)
        plain = re.sub(r"\b\d\d:\d\d:\d\d\b", "CLOCK", plain)
        plain = re.sub(r"worker-[0-9a-f]{16}", "worker-ID", plain)
        plain = _DISTANCE.sub("SOON", plain)
        # Before a relative time: on a slow machine a scheduled job may be due by now.
        plain = re.sub(r"\b(scheduled|ready)\b(?=.*SOON)", "WAITING", plain)
        plain = re.sub(r"-{2,}", "--", plain)
        lines.append(re.sub(r"\s+", " ", plain).strip())
    return lines
