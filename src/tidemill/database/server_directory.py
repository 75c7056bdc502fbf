"""The directory of an embedded server, held open: what root does there, no swapped name can lead elsewhere.

Other accounts may write to the directory of a project, and put a link or another file where root
expects its own. So root works with descriptors of directories, follows no link, changes the owner of
nothing that it has not made, and makes directories among the names of others only with their rights.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import weakref
from pathlib import Path

from tidemill.database.server_account import INSTEAD, Account, account_name, nobody
from tidemill.errors import EmbeddedServerError

_SOCKET_PATH_LIMIT = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ServerDirectory:
    """A directory that is ours to use, and the account that its servers run as.

    path     where it was found; only programs that run as the account go by it
    account  None if the servers run as this process does
    """

    def __init__(self, path: Path) -> None:
        """Opens the directory, and makes it if it is missing.

        Raises:
            EmbeddedServerError: It is a link or belongs to another account, or others may write to it.
            OSError: It cannot be made or opened.
        """
        self.path = path
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o711, parents=True)
        as_root = os.geteuid() == 0
        if as_root and path.is_symlink():
            raise self._refusal("it is a link", f"As root, name what it points to: {path.resolve()}.")
        self._descriptor = os.open(path, _DIRECTORY | (os.O_NOFOLLOW if as_root else 0))
        weakref.finalize(self, os.close, self._descriptor)
        seen = os.fstat(self._descriptor)
        self._check(seen)
        if seen.st_uid == os.geteuid() and not self.names(""):
            # Others may pass through, as the server's account must, but not list the files.
            os.fchmod(self._descriptor, 0o711)
        # Among names that another account may change, root makes and takes nothing.
        self._is_private = not as_root or seen.st_uid == 0
        self.account = self._account(seen) if as_root else None

    def _check(self, seen: os.stat_result) -> None:
        if seen.st_uid != os.geteuid() != 0:
            raise self._refusal(
                f"it belongs to {account_name(seen.st_uid)}", "Choose a directory of your own."
            )
        if os.geteuid() != 0:
            return
        if seen.st_uid == 0:
            if seen.st_mode & 0o022:
                raise self._refusal("other accounts may write to it", f"Run: chmod go-w {self.path}")
        elif os.stat("..", dir_fd=self._descriptor).st_mode & 0o002:
            raise self._refusal(
                f"{account_name(seen.st_uid)} made it in a directory that all may write to",
                "Remove it, or run this in another directory.",
            )

    def _account(self, seen: os.stat_result) -> Account:
        """The account of the server where this process is root: the owner of what is there."""
        if seen.st_uid != 0:
            return Account(seen.st_uid, seen.st_gid)
        for name in sorted(self.names("data-")):
            found = self.stat(name)
            if "." not in name and found.st_uid != 0:
                return Account(found.st_uid, found.st_gid)
        return nobody()

    def _refusal(self, what: str, advice: str) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"The embedded PostgreSQL cannot use {self.path}: {what}. {advice} {INSTEAD}"
        )

    def names(self, prefix: str) -> list[str]:
        """The names in it that begin so."""
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries if entry.name.startswith(prefix)]

    def stat(self, name: str) -> os.stat_result:
        """Looks at a name, not through a link."""
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def check_data(self, name: str) -> None:
        """Raises EmbeddedServerError if a cluster's name leads to files that its account does not own."""
        with contextlib.suppress(FileNotFoundError):
            seen = self.stat(name)
            if self.account is not None and (
                not stat.S_ISDIR(seen.st_mode) or seen.st_uid != self.account.uid
            ):
                raise self._refusal(
                    f"{name} is no directory of {account_name(self.account.uid)}", "Remove it."
                )

    def open_file(self, name: str) -> int:
        """Opens a file of the server's account, and makes it if it is missing; returns its descriptor.

        Children do not inherit the descriptor.

        Raises:
            EmbeddedServerError: The name is that of a link, of a file of another account, or of no file.
        """
        while True:
            with contextlib.suppress(FileExistsError):
                file = os.open(name, _FILE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._descriptor)
                if self.account is not None and not self._is_private:
                    os.fchown(file, *self.account)
                return file
            # It may be gone by now: then make it.
            with contextlib.suppress(FileNotFoundError):
                return self._open_existing(name)

    def _open_existing(self, name: str) -> int:
        if not stat.S_ISREG(self.stat(name).st_mode):
            raise self._refusal(f"{name} in it is no file", "Remove it.")
        file = os.open(name, _FILE, dir_fd=self._descriptor)
        try:
            seen = os.fstat(file)
            owners = {os.geteuid()} if self._is_private else set()
            owners |= set() if self.account is None else {self.account.uid}
            if seen.st_uid not in owners:
                raise self._refusal(f"{name} in it belongs to {account_name(seen.st_uid)}", "Remove it.")
        except BaseException:
            os.close(file)
            raise
        return file

    def make_directory(self, name: str) -> None:
        """Makes a directory of the server's account, which no other may enter.

        Raises:
            FileExistsError: There is something of that name.
        """
        _make_directory(self.path / name, self._descriptor, self.account, is_private=self._is_private)

    @property
    def leaves_directories_to_programs(self) -> bool:
        """Whether initdb has to make the cluster's directory, since root may make none here."""
        return not self._is_private

    def remove(self, name: str) -> None:
        """Removes a directory with everything in it, as far as that is possible."""
        shutil.rmtree(name, ignore_errors=True, dir_fd=self._descriptor)

    def rename(self, name: str, to: str) -> None:
        """Gives something in it another name."""
        os.rename(name, to, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def socket_directory(self, port: int) -> Path:
        """Returns a directory for the socket that only the server's account may enter.

        It is `run` in this one, or one in the temporary directory if the path is too long.

        Raises:
            EmbeddedServerError: The directory belongs to another account.
        """
        uid = os.geteuid() if self.account is None else self.account.uid
        name = f"tidemill-{uid}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        inside = self.path / "run"
        for place in (inside, Path(tempfile.gettempdir(), name), Path("/tmp", name)):
            # The kernel limits the length of a socket's path, and libpq splits hosts at commas.
            path = os.fsencode(place / f".s.PGSQL.{port}")
            if len(path) < _SOCKET_PATH_LIMIT and b"," not in path:
                break
        try:
            parent = os.dup(self._descriptor) if place == inside else os.open(place.parent, _DIRECTORY)
            try:
                seen = os.fstat(parent)
                # In a sticky directory, others cannot rename what root has made.
                sticky = seen.st_mode & stat.S_ISVTX or not seen.st_mode & 0o022
                is_private = os.geteuid() != 0 or bool(seen.st_uid == 0 and sticky)
                with contextlib.suppress(FileExistsError):
                    _make_directory(place, parent, self.account, is_private=is_private)
                opened = os.open(place.name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            finally:
                os.close(parent)
            try:
                if os.fstat(opened).st_uid != uid:
                    raise PermissionError("another account owns it")
                os.fchmod(opened, 0o700)
            finally:
                os.close(opened)
        except OSError as error:
            raise EmbeddedServerError(
                f"The embedded PostgreSQL cannot use {place} for its socket: {error}. "
                f"Remove it, or choose another directory. {INSTEAD}"
            ) from error
        return place


def _make_directory(path: Path, parent: int, account: Account | None, *, is_private: bool) -> None:
    """Makes a directory in one that is open; `is_private`: only our own account changes names there."""
    if account is not None and not is_private:
        with contextlib.suppress(FileNotFoundError):
            os.stat(path.name, dir_fd=parent, follow_symlinks=False)
            raise FileExistsError(path)
        # Between mkdir and chown, another account could put a directory of root's under this name.
        program = shutil.which("mkdir") or "/bin/mkdir"
        subprocess.run(
            [program, "-m", "700", "--", path],
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
        return
    os.mkdir(path.name, 0o700, dir_fd=parent)
    if account is not None:
        made = os.open(path.name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            os.fchown(made, *account)
        finally:
            os.close(made)
