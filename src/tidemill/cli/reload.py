"""Which files have changed: for `tidemill worker --reload`, in development."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = {"__pycache__", "node_modules"}


class Files:
    """The Python files below the working directory, all files of a task directory, and a crontab.

    Left out are hidden files and directories, what editors keep beside a file, virtual environments, and
    what is behind a link.
    """

    def __init__(self, tasks: Path, crontab: Path | None) -> None:
        # As they are now: a deployment may take the directory away.
        self._here = Path.cwd()
        self._tasks = tasks.absolute()
        self._crontab = None if crontab is None else crontab.absolute()
        self._seen = self._look()

    def changed(self) -> str | None:
        """A file that was written, made or removed since the last call; None if none was."""
        before, self._seen = self._seen, self._look()
        return next((path for path, _ in before.items() ^ self._seen.items()), None)

    def _look(self) -> dict[str, tuple[int, int]]:
        found = dict(_files(self._here, only_python=True))
        found |= _files(self._tasks, only_python=False)
        if self._crontab is not None:
            found |= _status(self._crontab)
        return found


def _files(directory: Path, *, only_python: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each file, with when it was written and its size."""
    for place, directories, names in os.walk(directory):
        if "pyvenv.cfg" in names:
            directories.clear()
            continue
        directories[:] = [name for name in directories if name not in _LEFT_OUT and name[0] != "."]
        for name in names:
            is_source = name.endswith(".py") if only_python else not name.endswith("~")
            # Editors keep such files; the task directory leaves them out, too.
            if is_source and name[0] != ".":
                yield from _status(Path(place, name)).items()


def _status(path: Path) -> dict[str, tuple[int, int]]:
    """When a file was written, and its size; empty if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return {}
    return {str(path): (status.st_mtime_ns, status.st_size)}
