"""Executable tasks: programs in any language, which read a job from stdin."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import logging
import os
import shlex
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tidemill.context import JobContext
from tidemill.errors import ExecutableError
from tidemill.tasks import Task
from tidemill.texts import shown
from tidemill.worker_options import EXECUTABLE_TIMEOUT

_KILL_AFTER = 5.0
_TAIL = 2000
_MOST_LOGGED = 100_000
# When the program has ended, this is time enough to read what it left in the pipe, which holds 64 KiB.
_DRAIN_SECONDS = 0.25


def executable_task(path: Path, identifier: str, *, timeout: float | None = EXECUTABLE_TIMEOUT) -> Task[Any]:
    """A task that runs a program: the payload on stdin, the job in the environment."""
    program = str(path.absolute())

    async def run(payload: Any, job: JobContext) -> None:
        out, err = _Output(job, logging.INFO), _Output(job, logging.ERROR)
        with _stdin(job) as stdin:
            async with _pipe(out) as stdout, _pipe(err) as stderr:
                try:
                    process = await asyncio.create_subprocess_exec(
                        program,
                        stdin=stdin,
                        stdout=stdout,
                        stderr=stderr,
                        env=_environment(job),
                        start_new_session=True,
                    )
                except OSError as error:
                    raise ExecutableError(
                        f"{path.name} cannot be started: {error.strerror}{_why_not(Path(program), error)}"
                    ) from error
                # Only the program, and what it leaves running, hold the other ends now.
                stdout.close()
                stderr.close()
                try:
                    code = await process.wait()
                except asyncio.CancelledError:
                    await _end(process)
                    raise
                await asyncio.wait([out.ended, err.ended], timeout=_DRAIN_SECONDS)
        if code != 0:
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            tail = err.tail.strip()
            raise ExecutableError(f"{path.name} ended with {ended}" + (f": {tail}" if tail else ""))

    return Task(run, identifier, timeout=timeout)


def _why_not(program: Path, error: OSError) -> str:
    """What to do about a program that the system does not start: its error names no interpreter."""
    if error.errno == errno.ENOEXEC:
        return "; begin its first line with an interpreter, for instance #!/bin/sh"
    if error.errno == errno.ENOENT and not program.exists():
        return "; it was there when the worker started: put it back, or start the worker again"
    if error.errno == errno.EACCES and not os.access(program, os.X_OK):
        return f"; make it executable: chmod +x {shlex.quote(str(program))}"
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOTDIR):
        return f"; the interpreter in its first line, {_first_line(program)}, must be there and executable"
    return ""


def _first_line(program: Path) -> str:
    try:
        with program.open("rb") as file:
            return shown(file.readline(200).decode(errors="replace").removesuffix("\n"))
    except OSError:
        return "which cannot be read"


def _environment(job: JobContext) -> dict[str, str]:
    values = {
        "PAYLOAD_FORMAT": "json",
        "TASK_IDENTIFIER": job.identifier,
        "JOB_ID": str(job.id),
        "JOB_ATTEMPTS": str(job.attempt),
        "JOB_MAX_ATTEMPTS": str(job.max_attempts),
        "JOB_PRIORITY": str(job.priority),
        "JOB_RUN_AT": _utc(job.run_at),
        "JOB_SLOT": _utc(job.slot),
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


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Output(asyncio.Protocol):
    """Logs what arrives over a pipe: the first part as it comes, and at the end the last one."""

    def __init__(self, job: JobContext, level: int) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        """Done when nothing holds the other end any more."""
        self.tail = ""
        self._job = job
        self._level = level
        # A character may span two chunks.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._left = _MOST_LOGGED
        self._unlogged = 0

    def data_received(self, data: bytes) -> None:
        """Takes the next chunk: not a line, since a line may be longer than any buffer."""
        text = self._decoder.decode(data)
        head = text[: self._left]
        if head:
            self._log(head)
        self._left -= len(head)
        self._unlogged += len(text) - len(head)
        self.tail = (self.tail + text)[-_TAIL:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends it: the other end was closed, or this one."""
        if not self.ended.done():
            self.ended.set_result(None)
        if self._unlogged:
            last = self.tail[-self._unlogged :]
            self._log(f"... {self._unlogged - len(last):,} characters left out ...\n{last}")
            self._unlogged = 0

    def _log(self, text: str) -> None:
        self._job.logger.log(self._level, "%s", text.rstrip("\n"))


@contextlib.asynccontextmanager
async def _pipe(output: _Output) -> AsyncIterator[IO[bytes]]:
    """The end of a new pipe to write to.

    asyncio's own pipes would not do: with them `Process.wait` waits for all who hold the other end, also
    for a child that the program has left running.
    """
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as end:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: output, os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            yield end
        finally:
            transport.close()


@contextlib.contextmanager
def _stdin(job: JobContext) -> Iterator[IO[bytes]]:
    """A file with the payload in memory: the program need not read it, and nobody has to feed it."""
    with _file_in_memory() as stdin:
        stdin.write(f'{{"payload":{job.raw_payload}}}'.encode())
        stdin.seek(0)
        yield stdin


def _file_in_memory() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("payload"), "w+b")
    return tempfile.TemporaryFile()


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
