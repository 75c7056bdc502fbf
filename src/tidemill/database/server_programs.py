"""PostgreSQL's own programs: initdb, pg_ctl, and the log that all of them write."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from psycopg import pq
from psycopg.conninfo import make_conninfo

from tidemill.database.server_account import (
    INSTEAD,
    make_readable,
    make_searchable,
)
from tidemill.database.server_binaries import is_of_wheel
from tidemill.database.server_directory import ServerDirectory
from tidemill.errors import EmbeddedServerError

logger = logging.getLogger("tidemill")

_START_SECONDS = 120
_STOP_SECONDS = 60
_END_SECONDS = 10
# A server answers within this time, if only "starting up". A process that does not is none.
_ANSWER_SECONDS = 15
# So long it may take to recover.
_RECOVERY_SECONDS = 120
# Who waits for longer is told for what.
TELL_SECONDS = 2
_LOOK_SECONDS = 0.5
_NEWS_SECONDS = 0.1
_LOG_TAIL = 8192
# A killed server leaves backends behind; each lives on until it has finished its statement.
_ORPHANS_SECONDS = 30
_ORPHANS = "pre-existing shared memory block"
_PIDFILE_LIMIT = 8192
_PIDFILE_PORT, _PIDFILE_SOCKET_DIRECTORY, _PIDFILE_STATUS = 3, 4, 7


class Answer(NamedTuple):
    """Whether a server accepts connections, and where."""

    ping: pq.Ping
    socket_dir: Path
    port: int
    doing: str = ""
    """What it does while it accepts none."""


def ask(data_dir: Path) -> Answer:
    """Asks the server that a cluster's postmaster.pid names whether it accepts connections."""
    try:
        lines = _pidfile(data_dir)
        port, socket_dir = int(lines[_PIDFILE_PORT]), lines[_PIDFILE_SOCKET_DIRECTORY]
    except (OSError, IndexError, ValueError):
        return Answer(pq.Ping.NO_RESPONSE, data_dir, 0)
    ping = pq.PGconn.ping(make_conninfo(host=socket_dir, port=port).encode())
    # After a crash of one of its processes it still says that it is ready.
    said = "".join(lines[_PIDFILE_STATUS:]).strip()
    doing = said if said in ("starting", "stopping") else "recovering"
    return Answer(pq.Ping(ping), Path(socket_dir), port, doing)


def _pidfile(data_dir: Path) -> list[str]:
    """The lines of postmaster.pid. Raises OSError."""
    # The server's account may put a link or a pipe there, which root must not read.
    opened = os.open(data_dir / "postmaster.pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(opened) as file:
        return file.read(_PIDFILE_LIMIT).splitlines()


@dataclass(frozen=True, slots=True)
class ServerPrograms:
    """The programs of one version, run as the server's account on the clusters of a directory."""

    place: ServerDirectory
    data_dir: Path
    """The cluster of this version, in the directory."""
    version: int
    bin_dir: Path

    def pg_ctl(self, *arguments: str) -> int:
        """Runs pg_ctl on the cluster; returns its exit code."""
        return self._run("pg_ctl", *arguments)

    def start(self, socket_dir: Path, port: int, settings: Mapping[str, str]) -> None:
        """Starts the server, and makes its cluster before that if there is none.

        Raises:
            EmbeddedServerError: One of the two failed; the message ends with the end of the log.
        """
        if self.place.account is not None:
            if is_of_wheel(self.bin_dir):
                make_readable(self.bin_dir)
            for place in (self.place.path, socket_dir, self.bin_dir):
                make_searchable(place, self.place.account)
        with self._log() as log:
            log_size = log.seek(0, os.SEEK_END)
        if not (self.data_dir / "PG_VERSION").exists():
            self._keep_out_of_git()
            self._initdb(log_size)
        everything = {
            "listen_addresses": "",
            "port": str(port),
            "unix_socket_directories": '"{}"'.format(str(socket_dir).replace('"', '""')),
            "unix_socket_permissions": "0700",
            **settings,
        }
        options = shlex.join(f"--{name}={value}" for name, value in everything.items())
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while self.pg_ctl("start", "-w", "-t", str(_START_SECONDS), "-o", options) != 0:
            if time.monotonic() > deadline or _ORPHANS not in self._log_tail(log_size):
                raise self.failure("did not start", "Put that right and try again.", log_size)
            time.sleep(0.2)

    def wait(self) -> Answer:
        """Waits until the server accepts connections, or there is none: then NO_ATTEMPT.

        It may be starting, recovering or stopping, and after a crash of one of its processes it does not
        answer at all for a moment. Returns its last answer when it has done the same for too long.
        """
        pidfile = self.data_dir / "postmaster.pid"
        last, since, is_told = Answer(pq.Ping.NO_ATTEMPT, self.data_dir, 0), 0.0, False
        while pidfile.exists():
            answer, now = ask(self.data_dir), time.monotonic()
            if answer.ping is not pq.Ping.OK and answer.ping is not pq.Ping.REJECT and not self._is_alive():
                break
            if answer != last:
                last, since = answer, now
            if answer.ping is pq.Ping.OK or now - since >= _patience(answer):
                return answer
            if not is_told and now - since >= TELL_SECONDS:
                is_told = True
                logger.warning(
                    "waiting for the embedded PostgreSQL in %s, which %s; its log is %s",
                    self.data_dir,
                    f"is {answer.doing}" if answer.ping is pq.Ping.REJECT else "does not answer",
                    self.place.path / "log",
                )
            # Each look leaves a line in the log.
            time.sleep(min(_LOOK_SECONDS, 0.05 + (now - since) / 10))
        return Answer(pq.Ping.NO_ATTEMPT, self.data_dir, 0)

    def _is_alive(self) -> bool:
        """Whether there is a process with the server's pid."""
        return self.pg_ctl("status") == 0

    def stop_all(self) -> None:
        """Stops the servers of all versions in the directory."""
        for data_dir in sorted(self.place.path / name for name in self.place.names("data-")):
            replace(self, data_dir=data_dir).stop()

    def stop(self) -> None:
        """Stops the server, if there is one."""
        # One that is told to stop while it recovers from a crash may do neither. It hears of the crash a
        # moment later than the clients.
        ping = self.wait().ping
        if ping is pq.Ping.OK:
            time.sleep(_NEWS_SECONDS)
            ping = self.wait().ping
        # If nothing answers, the pid in the file may belong to any other process by now.
        if ping in (pq.Ping.NO_RESPONSE, pq.Ping.NO_ATTEMPT):
            return
        if ping is pq.Ping.OK and (
            self.pg_ctl("stop", "-m", "fast", "-w", "-t", str(TELL_SECONDS)) == 0
            or self.wait().ping is pq.Ping.NO_ATTEMPT
        ):
            return
        if not self.end():
            logger.warning("the embedded PostgreSQL in %s did not stop; %s", self.data_dir, self.how_to_end())

    def end(self) -> bool:
        """Ends a server that neither gets on nor stops; whether that worked."""
        if self.pg_ctl("stop", "-m", "immediate", "-w", "-t", str(_END_SECONDS)) != 0:
            return False
        logger.warning(
            "the embedded PostgreSQL in %s did not get on, and was ended; nothing that was committed is lost",
            self.data_dir,
        )
        return True

    def how_to_end(self) -> str:
        """What to do with a server that neither gets on nor stops."""
        try:
            pid = _pidfile(self.data_dir)[0]
        except (OSError, IndexError):
            return "it has ended meanwhile"
        return f"`kill -QUIT {pid}` ends it, and nothing that was committed is lost"

    def failure(self, what: str, advice: str, log_size: int = 0) -> EmbeddedServerError:
        """Returns an error with what was logged last, or last since the log had this size."""
        tail = " / ".join(self._log_tail(log_size).splitlines()[-8:])
        return EmbeddedServerError(
            f"The embedded PostgreSQL {self.version} in {self.place.path} {what}. "
            f"The end of its log: {tail or 'empty'}. {advice} {INSTEAD}"
        )

    def _keep_out_of_git(self) -> None:
        gitignore = self.place.open_file(".gitignore")
        with os.fdopen(gitignore, "r+b", buffering=0) as file:
            if not file.read():
                file.write(b"*\n")

    def _initdb(self, log_size: int) -> None:
        """Makes the cluster under another name and renames it: no half-made cluster has the name."""
        for leftover in self.place.names(f"{self.data_dir.name}."):
            self.place.remove(leftover)
        # Use a new name each time: the initdb of a killed user may still be writing.
        name = f"{self.data_dir.name}.{secrets.token_hex(8)}"
        if not self.place.leaves_directories_to_programs:
            self.place.make_directory(name)
        options = ("--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync")
        if self._run("initdb", *options, "--username=postgres", data_dir=self.place.path / name) != 0:
            self.place.remove(name)
            raise self.failure("could not make its database files", "Put that right.", log_size)
        self.place.rename(name, self.data_dir.name)

    def _run(self, program: str, *arguments: str, data_dir: Path | None = None) -> int:
        user, group = self.place.account or (None, None)
        inherited = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
        with self._log() as log:
            return subprocess.run(
                [self.bin_dir / program, *arguments],
                # PGDATA rather than `-D`, which pg_ctl hands to a shell that would expand a `$`.
                env={
                    **{name: os.environ[name] for name in inherited if name in os.environ},
                    "LC_ALL": "C",
                    "PGDATA": str(data_dir or self.data_dir),
                },
                cwd="/",
                stdin=subprocess.DEVNULL,
                # A file, not a pipe of ours: the server keeps it as long as it runs.
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal must not reach the server.
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                check=False,
            ).returncode

    def _log(self) -> BinaryIO:
        return os.fdopen(self.place.open_file("log"), "r+b", buffering=0)

    def _log_tail(self, log_size: int) -> str:
        """Returns what was logged since the log had this size, or the end of that."""
        with self._log() as log:
            log.seek(max(log_size, log.seek(0, os.SEEK_END) - _LOG_TAIL))
            return log.read().decode(errors="replace")


def _patience(answer: Answer) -> float:
    """How long a server may go on with what it does."""
    if answer.ping is not pq.Ping.REJECT:
        return _ANSWER_SECONDS
    return _STOP_SECONDS if answer.doing == "stopping" else _RECOVERY_SECONDS
