"""Executable tasks: programs in any language, which read a job from stdin."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import os
import signal
from collections import deque
from datetime import UTC
from pathlib import Path
from typing import Any

from tidemill.context import JobContext
from tidemill.errors import ExecutableError
from tidemill.tasks import Task

_KILL_AFTER = 5.0
_STDERR_TAIL = 2000


def executable_task(path: Path, identifier: str) -> Task[Any]:
    """A task that runs a program: the payload on stdin, the job in the environment."""
    program = str(path.absolute())

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
        "JOB_RUN_AT": job.run_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if job.key is not None:
        values["JOB_KEY"] = job.key
    environment = dict(os.environ)
    # Set both names, so that executables written for Graphile Worker run unchanged.
    for prefix in ("TIDEMILL", "GRAPHILE_WORKER"):
        # A job may have started this worker: do not pass on that job's key.
        environment.pop(f"{prefix}_JOB_KEY", None)
        environment.update({f"{prefix}_{name}": value for name, value in values.items()})
    return environment


async def _talk(process: asyncio.subprocess.Process, job: JobContext) -> str:
    """Feeds stdin, logs the output line by line, and returns the end of stderr."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stderr_lines: deque[str] = deque()

    async def feed(stdin: asyncio.StreamWriter) -> None:
        # A program need not read its stdin (uvloop raises RuntimeError then).
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            stdin.write(f'{{"payload":{job.raw_payload}}}'.encode())
            await stdin.drain()
        stdin.close()

    async def log(stream: asyncio.StreamReader, level: int, keep: deque[str] | None) -> None:
        # Read chunks, not lines, which may be longer than any buffer. A character may span two chunks.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while chunk := await stream.read(65536):
            text = decoder.decode(chunk)
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
    """Asks the program and its children to stop; kills the rest when it ends, or after 5 seconds."""
    try:
        _signal_group(process, signal.SIGTERM)
        async with asyncio.timeout(_KILL_AFTER):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    # The group may be gone: it lives as long as one of its processes.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)
