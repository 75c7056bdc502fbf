"""Loads tasks from a directory: Python files and executables, named by their paths."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidemill.errors import ExecutableError, TaskLoadError
from tidemill.jobs import JobContext
from tidemill.tasks import Task

logger = logging.getLogger("tidemill")

_DIRECTORY = re.compile(r"[A-Za-z0-9_-]+")
_FILE = re.compile(r"([A-Za-z0-9_-]+)((?:\.[^.]+)*)")
_KILL_AFTER = 5.0
_STDERR_TAIL = 2000


def load_directory(directory: Path) -> tuple[list[Task[Any]], list[TaskLoadError]]:
    """The tasks of a directory, and what could not be loaded.

    `send_email.py` becomes `send_email`, `users/emails/verify.py` becomes
    `users/emails/verify`; the function is called `task` or like the file. Other
    files with an execute bit become executable tasks. Names with other
    characters than letters, digits, `_` and `-`, and names that begin with `_`,
    are passed over. Where several files share a name, Python wins.

    Raises TaskLoadError if the directory is not there.
    """
    if not directory.is_dir():
        raise TaskLoadError(
            f"The task directory {str(directory)!r} does not exist. Create it with a file such as "
            "hello.py, or name another with --tasks."
        )
    tasks: dict[str, Task[Any]] = {}
    problems: list[TaskLoadError] = []
    for path, identifier, suffix in sorted(_files(directory), key=lambda f: (f[1], f[2] != ".py", f[2])):
        if identifier in tasks:
            logger.info("%s is passed over: the task %s is already loaded", path, identifier)
            continue
        try:
            if suffix == ".py":
                tasks[identifier] = _load_python(path, identifier)
            elif os.access(path, os.X_OK):
                tasks[identifier] = executable_task(path, identifier)
            else:
                logger.info("%s is passed over: neither a Python file nor executable", path)
        except TaskLoadError as problem:
            problems.append(problem)
    return list(tasks.values()), problems


def _files(directory: Path, prefix: str = "") -> Iterator[tuple[Path, str, str]]:
    for entry in directory.iterdir():
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_dir():
            # A link to a directory may lead back up.
            if _DIRECTORY.fullmatch(entry.name) and not entry.is_symlink():
                yield from _files(entry, f"{prefix}{entry.name}/")
            continue
        match = _FILE.fullmatch(entry.name)
        if match is None or not entry.is_file():
            logger.info("%s is passed over: not a task's name", entry)
            continue
        yield entry, prefix + match[1], match[2]


def _load_python(path: Path, identifier: str) -> Task[Any]:
    module_name = "tidemill_tasks." + re.sub(r"[^A-Za-z0-9_]", "_", identifier.replace("/", "."))
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and type hints look their module up by name.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise TaskLoadError(f"{path} does not import: {type(error).__name__}: {error}") from error
    stem = path.name.split(".")[0]
    for name in ("task", stem.replace("-", "_")):
        found = getattr(module, name, None)
        if isinstance(found, Task):
            return Task(
                found.function,
                identifier,
                max_attempts=found.max_attempts,
                retry=found.retry,
                timeout=found.timeout,
            )
        # `from tidemill import task` is the decorator, not this file's task.
        if callable(found) and getattr(found, "__module__", None) == module_name:
            return Task(found, identifier)
    raise TaskLoadError(
        f"{path} has no function called `task` or `{stem.replace('-', '_')}`. Add one, or begin the "
        "file's name with an underscore if it is not a task."
    )


def executable_task(path: Path, identifier: str) -> Task[Any]:
    """A task that runs a program: the payload on stdin, the job in the environment."""
    program = str(path.resolve())

    async def run(payload: Any, job: JobContext) -> None:
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(job),
            start_new_session=True,
        )
        try:
            tail = await _talk(process, job)
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        if code != 0:
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise ExecutableError(f"{path.name} ended with {ended}" + (f": {tail}" if tail else ""))

    return Task(run, identifier)


def _environment(job: JobContext) -> dict[str, str]:
    values = {
        "PAYLOAD_FORMAT": "json",
        "TASK_IDENTIFIER": job.identifier,
        "JOB_ID": str(job.id),
        "JOB_ATTEMPTS": str(job.attempt),
        "JOB_MAX_ATTEMPTS": str(job.max_attempts),
        "JOB_PRIORITY": str(job.priority),
        "JOB_RUN_AT": job.run_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if job.key is not None:
        values["JOB_KEY"] = job.key
    # Both names, so that executables written for Graphile Worker run unchanged.
    return {
        **os.environ,
        **{
            f"{prefix}_{name}": value
            for prefix in ("TIDEMILL", "GRAPHILE_WORKER")
            for name, value in values.items()
        },
    }


async def _talk(process: asyncio.subprocess.Process, job: JobContext) -> str:
    """Feeds stdin, logs the output line by line, and returns the end of stderr."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stderr_lines: deque[str] = deque()

    async def feed(stdin: asyncio.StreamWriter) -> None:
        # A program that does not read its stdin is no failure.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(f'{{"payload":{job.raw_payload}}}'.encode())
            await stdin.drain()
        stdin.close()

    async def log(stream: asyncio.StreamReader, level: int, keep: deque[str] | None) -> None:
        # By chunks: a line may be longer than any buffer.
        while chunk := await stream.read(65536):
            text = chunk.decode(errors="replace")
            job.logger.log(level, "%s", text.rstrip("\n"))
            if keep is not None:
                keep.append(text)
                while sum(map(len, keep)) - len(keep[0]) > _STDERR_TAIL:
                    keep.popleft()

    await asyncio.gather(
        feed(process.stdin),
        log(process.stdout, logging.INFO, None),
        log(process.stderr, logging.ERROR, stderr_lines),
    )
    return "".join(stderr_lines).strip()[-_STDERR_TAIL:]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asks the program and its children to stop, and insists after a while."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), _KILL_AFTER)
            return
