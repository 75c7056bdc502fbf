"""The account that an embedded server runs as, and the directories that it needs open.

PostgreSQL refuses to run as root. A root process runs it as the owner of the data directory,
which is `nobody` at first. Any other account runs it as itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tidemill.errors import EmbeddedServerError

if sys.platform != "win32":
    import pwd

logger = logging.getLogger("tidemill")

INSTEAD = "Or set DATABASE_URL to a server of your own."

_SOCKET_PATH_LIMIT = 100


class Account(NamedTuple):
    """The account of the server, if that is not our own."""

    uid: int
    gid: int


def server_account(data_dir: Path) -> Account | None:
    """Returns the account to run the server as; None means our own.

    Raises:
        EmbeddedServerError: We are root, and there is no `nobody`.
    """
    if os.geteuid() != 0:
        return None
    for place in (data_dir, data_dir.parent):
        if place.exists() and (owner := place.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root, and there is no account `nobody` to run it as. "
            f"Start this as an ordinary user. {INSTEAD}"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def socket_directory(directory: Path, port: int, account: Account | None) -> Path:
    """Returns a directory for the socket that only the server's account may enter.

    It is `run` in the given directory, or one in the temporary directory if the path is too long.

    Raises:
        EmbeddedServerError: The directory belongs to another account.
    """
    uid = os.geteuid() if account is None else account.uid
    name = f"tidemill-{uid}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"
    for place in (directory / "run", Path(tempfile.gettempdir(), name), Path("/tmp", name)):
        # The kernel limits the length of a socket's path, and libpq splits hosts at commas.
        path = os.fsencode(place / f".s.PGSQL.{port}")
        if len(path) < _SOCKET_PATH_LIMIT and b"," not in path:
            break
    place.mkdir(mode=0o700, exist_ok=True)
    try:
        # Use a descriptor: in a shared directory another account may replace what has this name.
        opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(opened).st_uid not in (uid, os.geteuid()):
                raise PermissionError("another account owns it")
            os.fchmod(opened, 0o700)
            if account is not None:
                os.fchown(opened, *account)
        finally:
            os.close(opened)
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded PostgreSQL cannot use {place} for its socket: {error}. "
            f"Remove it, or choose another directory. {INSTEAD}"
        ) from error
    return place


def open_file(path: Path, account: Account | None) -> int:
    """Opens a file that belongs to the server's account; returns its descriptor.

    It follows no symbolic link, and children do not inherit the descriptor.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    if account is not None:
        os.fchown(file, *account)
    return file


def make_searchable(place: Path, account: Account) -> None:
    """Adds the search bit that the account lacks to each directory that it has to pass through."""
    place = place.resolve()
    for directory in reversed((place, *place.parents)):
        seen = directory.stat()
        if seen.st_uid == account.uid:
            missing = stat.S_IXUSR & ~seen.st_mode
        elif seen.st_gid == account.gid:
            missing = stat.S_IXGRP & ~seen.st_mode
        else:
            missing = stat.S_IXOTH & ~seen.st_mode
        if missing:
            directory.chmod(stat.S_IMODE(seen.st_mode) | missing)
            logger.warning(
                "made %s searchable (not readable) for the embedded PostgreSQL, which cannot run as root",
                directory,
            )


def make_readable(bin_dir: Path) -> None:
    """Makes the wheel's PostgreSQL readable for every account, if pip's umask has closed it."""
    if (bin_dir / "postgres").stat().st_mode & stat.S_IROTH:
        return
    package = bin_dir.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    for tree in (bin_dir.parent, libraries):
        for place in (tree, *tree.rglob("*")):
            if place.exists() and not place.is_symlink():
                mode = stat.S_IMODE(place.stat().st_mode)
                place.chmod(mode | (mode >> 6 & (stat.S_IROTH | stat.S_IXOTH)))
    logger.warning("made %s readable for the embedded PostgreSQL, which cannot run as root", bin_dir.parent)
