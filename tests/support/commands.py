"""Runs the command line as a user does: in a process of its own.

A command by `run` and its kin is a copy of one process that has read the program already. Whatever an
interpreter reads at its start must be as it was for that; else, and with --every-case, it is a new one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

PROGRAM = (sys.executable, "-P", "-c", "from tidemill.cli import main; main()")

_SECONDS = 60
# What the program reads when a command needs it, and not at the start of its process.
_READ_LATE = ("DATABASE_URL", "PG", "PYTEST_", "TIDEMILL_")

always_anew = False
"""Whether each command is a new interpreter."""


class CommandServer:
    """A process that forks for each command."""

    def __init__(self) -> None:
        self._place = TemporaryDirectory(prefix="tidemill-commands-")
        self._path = f"{self._place.name}/socket"
        self._environment = dict(os.environ)
        program = [sys.executable, "-P", str(Path(__file__).with_name("command_server.py")), self._path]
        # It ends with its standard input, so with this process.
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def fits(self, environment: dict[str, str]) -> bool:
        """Whether a new interpreter would start as it has."""
        return _read_early(environment) == _read_early(self._environment)

    def run(
        self, arguments: tuple[str, ...], directory: Path, environment: dict[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run."""
        request = {"arguments": arguments, "directory": str(directory), "environment": environment}
        said = json.dumps(request).encode()
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as errors:
            given.write(stdin.encode())
            given.seek(0)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SECONDS)
                connection.connect(self._path)
                files = [each.fileno() for each in (given, out, errors)]
                socket.send_fds(connection, [len(said).to_bytes(8)], files)
                connection.sendall(said)
                with connection.makefile("r") as answers:
                    pid = int(answers.readline())
                    try:
                        code = int(answers.readline())
                    except TimeoutError:
                        os.kill(pid, signal.SIGKILL)
                        raise
            printed = []
            for file in (out, errors):
                file.seek(0)
                printed.append(file.read().decode())
        return subprocess.CompletedProcess(arguments, code, *printed)


def _read_early(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(_READ_LATE)}


@cache
def command_server() -> CommandServer:
    """One for each test process."""
    return CommandServer()


@dataclass(frozen=True)
class CommandLine:
    """`tidemill` on one database, in one directory."""

    directory: Path
    database: str | None = None
    anew: bool = False
    """Each command is a new interpreter: what it imports tells something."""

    def environment(self) -> dict[str, str]:
        """What the process finds in its environment."""
        given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        return given if self.database is None else {**given, "DATABASE_URL": self.database}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = self.environment()
        if not self.anew and not always_anew and command_server().fits(environment):
            return command_server().run(arguments, self.directory, environment, stdin)
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.directory,
            env=environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """A script that calls the command line as "$@"."""
        return subprocess.run(
            ["bash", "-c", script, "bash", *PROGRAM],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS,
            check=False,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (done.returncode, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """The error of a command that must fail: one paragraph, no traceback."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
        # Words may be wrapped, and framed where the arguments are at fault.
        return " ".join(done.stderr.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
