"""Loads tasks from a directory: Python files and executables, which are named by their paths."""

from __future__ import annotations

import importlib.util
import logging
import os
import pwd
import re
import shlex
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tidemill.errors import TaskLoadError
from tidemill.executables import executable_task
from tidemill.tasks import Task
from tidemill.texts import message_of
from tidemill.worker_options import EXECUTABLE_TIMEOUT

logger = logging.getLogger("tidemill")

_DIRECTORY = re.compile(r"[A-Za-z0-9_-]+")
_FILE = re.compile(r"([A-Za-z0-9_-]+)((?:\.[^.]+)*)")


def load_directory(
    directory: Path, *, trust_owner: bool = True, executable_timeout: float | None = EXECUTABLE_TIMEOUT
) -> tuple[list[Task[Any]], list[TaskLoadError]]:
    """The tasks of a directory, and an error for each file that could not be loaded.

    `send_email.py` becomes `send_email`, `users/emails/verify.py` becomes
    `users/emails/verify`; the function is called `task` or like the file. Other
    files with an execute bit become executable tasks. Passed over are names that begin
    with `_`, and names with other characters than letters, digits, `_` and `-`. If several
    files share a name, the Python file is taken.

    Whoever can write to a file here can run code as this process. So files must belong to root, to the
    user of this process or, with `trust_owner`, to the owner of the directory; and nobody else may write.

    Raises TaskLoadError if the directory does not exist, or others can change what is loaded from it.
    """
    if not directory.is_dir():
        raise TaskLoadError(
            f"The task directory {str(directory)!r} does not exist. Create it with a file such as "
            "hello.py, name another with --tasks, or an App with --app MODULE:APP."
        )
    owners = {0, os.geteuid()}
    if trust_owner:
        owners.add(directory.stat().st_uid)
    _expect_trusted(directory, owners)
    tasks: dict[str, Task[Any]] = {}
    problems: list[TaskLoadError] = []
    for path, identifier, suffix in sorted(
        _files(directory, owners), key=lambda f: (f[1], f[2] != ".py", f[2])
    ):
        if identifier in tasks:
            logger.info("%s is passed over: the task %s is already loaded", path, identifier)
            continue
        try:
            _expect_trusted(path, owners)
            if suffix == ".py":
                tasks[identifier] = _load_python(path, identifier)
            elif os.access(path, os.X_OK):
                tasks[identifier] = executable_task(path, identifier, timeout=executable_timeout)
            else:
                logger.info("%s is passed over: neither a Python file nor executable", path)
        except TaskLoadError as problem:
            problems.append(problem)
    return list(tasks.values()), problems


def why_distrusted(path: Path, owners: Collection[int]) -> str | None:
    """Why others than these users could change a file or directory, and what to do; None if they cannot."""
    found = path.stat()
    # Of a link, its owner counts, too: it can be pointed elsewhere.
    stranger = next((one.st_uid for one in (path.lstat(), found) if one.st_uid not in owners), None)
    if stranger is not None:
        return (
            f"{path} belongs to the user {_user(stranger)}, who could run code as this worker, "
            f"{_user(os.geteuid())}. Give it to root or to this user (chown), or run the worker as its owner"
        )
    if found.st_mode & stat.S_IWOTH:
        return (
            f"{path} can be written by every user of this machine, who could run code as this worker. "
            f"Take the right away: chmod o-w {shlex.quote(str(path))}"
        )
    # Those who may write to a directory above can put another thing here, also behind a link.
    for above in (*path.absolute().parents, *path.resolve().parents):
        mode = above.stat().st_mode
        # In a sticky directory, such as /tmp, only the owner of an entry can exchange it.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return (
                f"{path} is in {above}, where every user of this machine can exchange it, and so run code as "
                f"this worker. Take the right away: chmod o-w {shlex.quote(str(above))}"
            )
    return None


def _expect_trusted(path: Path, owners: Collection[int]) -> None:
    problem = why_distrusted(path, owners)
    if problem is not None:
        if path.is_dir() and path.stat().st_uid not in owners:
            problem += f", or name it to trust its owner: --tasks {shlex.quote(str(path))}"
        raise TaskLoadError(f"{problem}.")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        # Containers often run as a user without a name.
        return str(number)


def _files(directory: Path, owners: Collection[int], prefix: str = "") -> Iterator[tuple[Path, str, str]]:
    for entry in directory.iterdir():
        if entry.name.startswith(("_", ".")):
            for imported in _importable(entry):
                _expect_trusted(imported, owners)
            continue
        if entry.is_dir():
            # Do not follow links to directories: one may lead back up.
            if _DIRECTORY.fullmatch(entry.name) and not entry.is_symlink():
                _expect_trusted(entry, owners)
                yield from _files(entry, owners, f"{prefix}{entry.name}/")
            continue
        match = _FILE.fullmatch(entry.name)
        if match is None or not entry.is_file():
            logger.info("%s is passed over: not a task's name", entry)
            continue
        yield entry, prefix + match[1], match[2]


def _importable(entry: Path) -> Iterator[Path]:
    """What Python may load of an entry that is no task: helpers, and compiled files in `__pycache__`."""
    if entry.name.startswith("_") and entry.is_dir():
        yield entry
        # Links to directories are followed once: one may lead back up.
        for place, directories, files in os.walk(entry):
            yield from (Path(place, name) for name in [*directories, *files] if Path(place, name).exists())
    elif entry.suffix in (".py", ".so") and entry.exists():
        yield entry


def _load_python(path: Path, identifier: str) -> Task[Any]:
    module_name = "tidemill_tasks." + re.sub(r"[^A-Za-z0-9_]", "_", identifier.replace("/", "."))
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and type hints look up their module by name.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[module_name]
        raise TaskLoadError(f"{path} does not import: {type(error).__name__}: {message_of(error)}") from error
    stem = path.name.split(".")[0]
    for name in ("task", stem.replace("-", "_")):
        found = getattr(module, name, None)
        if isinstance(found, Task):
            # Keep the object, so that the file's own code can add jobs of it.
            found.identifier = identifier
            return found
        # A name imported from elsewhere, as the decorator `task`, is not this file's task.
        if callable(found) and getattr(found, "__module__", None) == module_name:
            return Task(found, identifier)
    raise TaskLoadError(
        f"{path} has no function called `task` or `{stem.replace('-', '_')}`. Add one, or begin the "
        "file's name with an underscore if it is not a task."
    )
