"""Which files have changed: for `tidemill worker --reload`, in development."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = {"__pycache__", "node_modules"}


class Files:
    """The Python files below the working directory, and all files of a task directory.

    Left out are hidden directories and virtual environments.
    """

    def __init__(self, tasks: Path | None) -> None:
        self._tasks = tasks
        self._seen = self._look()

    def changed(self) -> str | None:
        """A file that was written, made or removed since the last call; None if none was."""
        before, self._seen = self._seen, self._look()
        return next((path for path, _ in before.items() ^ self._seen.items()), None)

    def _look(self) -> dict[str, tuple[int, int]]:
        found = dict(_files(Path.cwd(), only_python=True))
        if self._tasks is not None and self._tasks.is_dir():
            found |= _files(self._tasks, only_python=False)
        return found


def _files(directory: Path, *, only_python: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each file, with when it was written and its size."""
    for place, directories, names in os.walk(directory):
        if "pyvenv.cfg" in names:
            directories.clear()
            continue
        directories[:] = [name for name in directories if name not in _LEFT_OUT and name[0] != "."]
        for name in names:
            if name.endswith(".py") or not only_python:
                path = Path(place, name)
                try:
                    status = path.stat()
                except OSError:
                    # It was removed in this moment.
                    continue
                yield str(path), (status.st_mtime_ns, status.st_size)
