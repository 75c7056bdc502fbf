"""A private PostgreSQL on the loopback interface, that can be started, stopped, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from chaos.servers.programs import (
    bin_dir,
    free_port,
    give,
    open_binaries,
    open_to_account,
    run,
    wait_for,
)

_SUPERUSER = "postgres"

_START_SECONDS = 60
_STOP_SECONDS = 60
# The processes of a killed server keep its memory for a moment.
_LEFTOVER = "pre-existing shared memory block"
_LOG_TAIL = 4096


class Cluster:
    """A cluster's files and the server on them.

    directory    everything of it, for its account only; the caller removes it
    environment  of the server, beside what it needs
    port         of 127.0.0.1; it stays the same when the server is started again
    """

    def __init__(self, version: int, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self.version = version
        self.directory = directory
        self.environment = dict(environment or {})
        self.bin_dir = bin_dir(version)
        self.data_dir = directory / "data"
        self.log = directory / "log"
        self.port = free_port()
        directory.mkdir(exist_ok=True)
        give(directory)
        open_to_account(directory.parent)
        open_binaries(self.bin_dir, version)

    def conninfo(self, host: str = "127.0.0.1") -> str:
        """The superuser, in the database postgres; over the socket with the directory as the host."""
        return make_conninfo(host=host, port=self.port, dbname="postgres", user=_SUPERUSER)

    def init(self, *options: str) -> None:
        """Makes the cluster, with the settings as shipped; options are those of initdb."""
        plain = ("--auth=trust", "--no-locale", "--encoding=UTF8", f"--username={_SUPERUSER}", "--no-sync")
        self.run("initdb", *plain, *options, f"--pgdata={self.data_dir}")

    def configure(self, settings: Mapping[str, str]) -> None:
        """Adds settings to the file of settings; the last value of each counts."""
        with (self.data_dir / "postgresql.conf").open("a") as file:
            for name, value in settings.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")

    def listen(self) -> None:
        """Settles where the server listens: on this port, and on a socket in the directory."""
        self.configure(
            {
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "unix_socket_directories": str(self.directory),
            }
        )

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of the server's programs; raises RuntimeError with the log's end if it fails."""
        if run((self.bin_dir / program, *arguments), self.log, {"PGDATA": str(self.data_dir)}) != 0:
            raise RuntimeError(f"{program} {' '.join(arguments)} failed: {self.log_tail()}")

    def start(self) -> None:
        """Starts the server, and waits until it takes connections."""
        start = (self.bin_dir / "pg_ctl", "start", "-w", "-t", str(_START_SECONDS))
        environment = {"PGDATA": str(self.data_dir), **self.environment}
        deadline = time.monotonic() + _START_SECONDS
        while True:
            begin = self.log.stat().st_size
            if run(start, self.log, environment) == 0:
                return
            if time.monotonic() > deadline or _LEFTOVER not in self.log_tail(begin):
                raise RuntimeError(f"PostgreSQL {self.version} did not start: {self.log_tail(begin)}")
            time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """Stops the server, and waits until it has ended; does nothing if it is down.

        The mode is one of pg_ctl's; `smart` waits for all clients to go, for a minute.
        """
        if self.postmaster() is None:
            return
        self.run("pg_ctl", "stop", "-m", mode, "-w", "-t", str(_STOP_SECONDS))

    def kill(self) -> None:
        """Kills the server with all its processes, as a crash of the machine would end them."""
        postmaster = self.postmaster()
        if postmaster is None:
            return
        # A stopped postmaster starts no more children, and sees none of them die.
        with suppress(ProcessLookupError):
            os.kill(postmaster, signal.SIGSTOP)
        processes = [postmaster, *_children(postmaster)]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait_for(lambda: not any(map(_is_alive, processes)), "killed processes to end")
        # As long as nobody has looked after it, the number of a dead process counts as taken.
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        (self.directory / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Whether the server takes connections."""
        return bool(pq.PGconn.ping(self.conninfo().encode()) == pq.Ping.OK)

    def postmaster(self) -> int | None:
        """The pid of the server's first process; None if it is down."""
        try:
            pid = int((self.data_dir / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None
        # The file of a killed server stays, and its number may be another program's by now.
        return pid if _is_alive(pid) and _works_in(pid, self.data_dir.resolve()) else None

    def log_tail(self, begin: int = 0) -> str:
        """The end of the log, or of what was logged since it had this size."""
        with self.log.open("rb") as file:
            file.seek(max(begin, file.seek(0, os.SEEK_END) - _LOG_TAIL))
            return " / ".join(file.read().decode(errors="replace").splitlines()[-8:])


def _processes(*columns: str) -> list[list[str]]:
    command = ["ps", "-A", "-o", ",".join(f"{column}=" for column in columns)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split() for line in listed.stdout.splitlines()]


def _children(process: int) -> Sequence[int]:
    return [int(pid) for pid, parent in _processes("pid", "ppid") if int(parent) == process]


def _is_alive(process: int) -> bool:
    """Whether it runs; a dead one whose parent has not looked yet does not."""
    return any(int(pid) == process and not state.startswith("Z") for pid, state in _processes("pid", "stat"))


def _works_in(process: int, directory: Path) -> bool:
    """Whether this is the process's working directory; taken for true where the system does not tell."""
    if not Path("/proc/self").exists():
        return True
    try:
        return Path(f"/proc/{process}/cwd").readlink() == directory
    except OSError:
        return False
