"""Runs the command line as a user does: in a process, with its output in pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-P", "-c", "from tidemill.cli import main; main()")


@dataclass(frozen=True)
class CommandLine:
    """`tidemill` on one database, in one directory."""

    directory: Path
    database: str | None = None

    def environment(self) -> dict[str, str]:
        """What the process finds in its environment."""
        given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        return given if self.database is None else {**given, "DATABASE_URL": self.database}

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.directory,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
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
            timeout=60,
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
