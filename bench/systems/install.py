"""Peers from their registries, each in a folder of its own, so that their dependencies do not mix."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from abc import abstractmethod
from pathlib import Path

from bench.systems.base import HERE, OUT, System, Unavailable

_INSTALL_SECONDS = 300
_RUN_SECONDS = 120


class Peer(System):
    """A system that is not ours: its files in `bench/peers/<name>`, its packages in `bench/out/<name>`."""

    package: str
    """What to install from the registry: a name, possibly with a version."""

    @abstractmethod
    def program(self) -> str:
        """The program that runs its files."""

    @property
    def files(self) -> Path:
        return HERE / "peers" / self.name

    @property
    def place(self) -> Path:
        return OUT / self.name

    def run(self, conninfo: str, file: Path, *arguments: str) -> str:
        """Runs a file to its end, and returns what it printed."""
        done = subprocess.run(
            [self.program(), str(file), *arguments],
            cwd=self.place,
            env=self.environment(conninfo),
            check=False,
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{file.name} {' '.join(arguments)}: {last_line(done.stderr)}")
        return done.stdout

    def installing(self, *command: str) -> None:
        """Runs one step of an installation."""
        try:
            subprocess.run(
                command,
                cwd=self.place,
                check=True,
                timeout=_INSTALL_SECONDS,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError as error:
            raise Unavailable(f"{command[0]} is not on this machine") from error
        except subprocess.CalledProcessError as error:
            why = last_line(error.output)
            raise Unavailable(f"{self.package} could not be installed: {why}") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"installing {self.package} took more than {_INSTALL_SECONDS} s") from error


class NodePeer(Peer):
    """A peer from npm."""

    def program(self) -> str:
        return "node"

    def install(self) -> None:
        # Node looks for the packages of a file beside that file.
        shutil.copytree(self.files, self.place, dirs_exist_ok=True)
        name = self.package.rsplit("@", 1)[0]
        manifest = {"private": True, "dependencies": {name: self.package.rsplit("@", 1)[1]}}
        (self.place / "package.json").write_text(json.dumps(manifest))
        self.installing("npm", "install", "--silent", "--no-audit", "--no-fund")
        installed = json.loads((self.place / "node_modules" / name / "package.json").read_text())
        self.version = installed["version"]


class PythonPeer(Peer):
    """A peer from PyPI, in a virtual environment of its own, driven by its `peer.py`."""

    least_python: tuple[int, int] = (3, 11)

    def program(self) -> str:
        return str(self.place / "venv" / "bin" / "python")

    def install(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        installed = self.place / "venv" / "installed"
        if not installed.exists() or installed.read_text() != self.package:
            self.installing(_python(self.least_python), "-m", "venv", "--clear", "venv")
            self.installing(self.program(), "-m", "pip", "-qq", "install", *self.package.split())
            installed.write_text(self.package)
        distribution = self.package.split()[0].split("[")[0]
        ask = (
            "import platform; from importlib.metadata import version; "
            f"print(version({distribution!r}), 'on Python', platform.python_version())"
        )
        self.version = subprocess.check_output([self.program(), "-c", ask], text=True).strip()

    def prepare(self, conninfo: str) -> None:
        self.run(conninfo, self.files / "peer.py", "schema")

    def script(self, name: str) -> str:
        """A command that its package brings."""
        return str(self.place / "venv" / "bin" / name)

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        options = json.dumps(self.options(concurrency))
        return [self.program(), str(self.files / "peer.py"), "worker", options]

    def options(self, concurrency: int) -> object:
        """Its best documented settings: the arguments of what its `peer.py` calls, by name."""
        raise NotImplementedError

    def environment(self, conninfo: str) -> dict[str, str]:
        # A command that its package brings looks for tasks here.
        return {**super().environment(conninfo), "PYTHONPATH": str(self.files)}

    def add_from_language(self, conninfo: str, jobs: int) -> float:
        return float(self.run(conninfo, self.files / "peer.py", "add", str(jobs)))


def last_line(output: str) -> str:
    """A program's last line of output, which is usually the error."""
    return (output.strip().splitlines() or ["it says nothing"])[-1]


def _python(least: tuple[int, int]) -> str:
    """A Python of at least this version: our own, else one on the PATH or of pyenv."""
    if sys.version_info[:2] >= least:
        return sys.executable
    minors = range(14, least[1] - 1, -1)
    named = [f"python3.{minor}" for minor in minors]
    kept = [
        str(path) for minor in minors for path in Path.home().glob(f".pyenv/versions/3.{minor}*/bin/python")
    ]
    check = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {least})"
    for python in (*named, *kept):
        if (
            shutil.which(python)
            and not subprocess.run([python, "-c", check], capture_output=True, check=False).returncode
        ):
            return python
    raise Unavailable(f"it needs Python {least[0]}.{least[1]} or newer, and this machine has none")
