"""The account that an embedded server runs as, and the directories that it must be able to pass through.

PostgreSQL refuses to run as root. A root process runs it as the owner of the data directory,
which is `nobody` at first. Any other account runs it as itself.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from tidemill.errors import EmbeddedServerError

if sys.platform != "win32":
    import pwd

logger = logging.getLogger("tidemill")

INSTEAD = "Or set DATABASE_URL to a server of your own."


class Account(NamedTuple):
    """The account of the server, if that is not our own."""

    uid: int
    gid: int


def nobody() -> Account:
    """Returns the account that a root process runs a new server as.

    Raises:
        EmbeddedServerError: There is none.
    """
    try:
        found = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root, and there is no account `nobody` to run it as. "
            f"Start this as an ordinary user. {INSTEAD}"
        ) from None
    return Account(found.pw_uid, found.pw_gid)


def account_name(uid: int) -> str:
    """An account's name, for messages."""
    try:
        return f"the account {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the account {uid}"


def make_searchable(place: Path, account: Account) -> None:
    """Adds the search bit that the account lacks to each directory that it has to pass through."""
    place = place.resolve()
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(place.anchor, flags)
    try:
        for directory in (*reversed(place.parents), place):
            if directory.name:
                # Each one in the one before: no link that comes in between is followed.
                inner = os.open(directory.name, flags, dir_fd=opened)
                os.close(opened)
                opened = inner
            seen = os.fstat(opened)
            missing = _missing_search_bit(seen, account)
            if missing:
                os.fchmod(opened, stat.S_IMODE(seen.st_mode) | missing)
                logger.warning(
                    "made %s searchable (not readable) for the embedded PostgreSQL, which cannot run as root",
                    directory,
                )
    finally:
        os.close(opened)


def _missing_search_bit(seen: os.stat_result, account: Account) -> int:
    if seen.st_uid == account.uid:
        return stat.S_IXUSR & ~seen.st_mode
    if seen.st_gid == account.gid:
        return stat.S_IXGRP & ~seen.st_mode
    return stat.S_IXOTH & ~seen.st_mode


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
