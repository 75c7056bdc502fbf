"""The programs of servers: where they are, and how they are run where we are root."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tidemill.database.server_account import Account, make_readable, make_searchable, nobody
from tidemill.database.server_binaries import binaries

# Every command of the harness ends by then, on a slow machine too.
_SECONDS = 120
_PAUSE = 0.02
_PORTS = range(20000, 32000)
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30


class Unavailable(Exception):
    """A program, or a right, that a fault needs and that is not there; the message says which."""


def bin_dir(version: int) -> Path:
    """The directory of the programs of this major version."""
    if (found := binaries(version)) is None:
        raise Unavailable(f"PostgreSQL {version} is not on this machine")
    return found


def program(name: str, package: str) -> str:
    """The path of a program of the system's, which comes in this Debian package."""
    # Debian puts servers where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    if (found := shutil.which(name, path=path)) is None:
        raise Unavailable(f"{name} is not on this machine (apt-get install {package})")
    return found


def account() -> Account | None:
    """Whom servers run as: PostgreSQL and PgBouncer refuse to run as root. None for this account."""
    return nobody() if os.geteuid() == 0 else None


def open_to_account(*places: Path) -> None:
    """Lets the account of the servers pass through these directories to what is its own."""
    if (whose := account()) is not None:
        for place in places:
            make_searchable(place, whose)


def open_binaries(directory: Path, version: int) -> None:
    """Lets the account of the servers run these programs."""
    if account() is not None:
        if directory == binaries(version):
            make_readable(directory)
        open_to_account(directory)


def new_directory() -> Path:
    """A new directory that the servers' account can reach; in memory, if there is room, for speed."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    place = Path(tempfile.mkdtemp(prefix="tidemill-chaos-", dir=_MEMORY if has_room else None))
    place.chmod(0o711)
    open_to_account(place)
    return place


def give(place: Path) -> None:
    """Makes a file or directory the property of the servers' account."""
    if (whose := account()) is not None:
        os.chown(place, *whose)


def run(command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Runs a command to its end as the servers' account, and returns its exit code; all it says is logged."""
    user, group = account() or (None, None)
    # A file, not a pipe of ours: a server that it starts keeps it.
    with log.open("ab") as output:
        return subprocess.run(
            command,
            env=clean_environment() | dict(environment or {}),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A Ctrl-C in the terminal must not reach the server: its cleaning up is ours.
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            check=False,
            timeout=_SECONDS,
        ).returncode


def clean_environment() -> dict[str, str]:
    """The environment of servers, without the settings of users such as PGDATA and PGOPTIONS."""
    inherited = ("PATH", "LD_LIBRARY_PATH")
    return {"LC_ALL": "C", **{name: os.environ[name] for name in inherited if name in os.environ}}


def free_port() -> int:
    """A port of the loopback interface that nobody uses now.

    It is none that clients are given: one of these, which knocks while the server is down, would keep it.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise Unavailable("a free port")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Waits until the condition is true; raises TimeoutError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(_PAUSE)
