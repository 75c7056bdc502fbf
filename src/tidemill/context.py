"""What a task is handed beside its payload."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, MutableMapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Unpack

import psycopg

from tidemill.errors import JobCancelledError
from tidemill.jobs import Job, JobOptions, Outcome
from tidemill.producers import Producer
from tidemill.texts import shown
from tidemill.times import moment

logger = logging.getLogger("tidemill")

_LONGEST_MESSAGE = 500


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds a job's id, identifier and attempt to each record, beside the caller's own extras."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merges the extras."""
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}


class Board(Protocol):
    """Where a job's progress is shown."""

    def tell(self, job_id: int, token: int, fraction: float | None, message: str | None) -> None:
        """Takes note of a job's progress. Never waits."""


class Claimed(Protocol):
    """A job as a worker has claimed it; times are microseconds since 2000."""

    id: int
    identifier: str
    payload: str
    priority: int
    run_at: int
    attempt: int
    max_attempts: int
    created_at: int
    key: str | None
    revision: int
    flags: list[str] | None
    trace: str | None
    queue_name: str | None
    slot: int | None
    token: int
    told: tuple[float | None, str | None] | None


class GivenBack(Outcome):
    """The job goes back as it was: its worker has to stop, or its lease is over."""


_making_events = threading.Lock()


class JobContext:
    """What a task is handed beside its payload.

    Methods that wait are coroutines; plain functions use the same names on
    `job.sync`, for instance `job.sync.add_job(...)`.
    """

    # Most tasks read little of it, so it is made of the claimed job when it is read.
    __slots__ = (
        "_board",
        "_cause",
        "_event",
        "_is_cancelled",
        "_is_left",
        "_job",
        "_logger",
        "_most",
        "app",
        "worker_id",
    )

    def __init__(
        self,
        app: Producer,
        worker_id: str,
        job: Claimed,
        max_attempts: int | None,
        progress: Board | None,
    ) -> None:
        self.app = app
        self.worker_id = worker_id
        self._job = job
        self._most = max_attempts
        self._board = progress
        self._logger: JobLogger | None = None
        self._is_cancelled = False
        self._event: threading.Event | None = None
        self._cause: BaseException | None = None
        self._is_left = False

    @property
    def id(self) -> int:
        """The job's id."""
        return self._job.id

    @property
    def identifier(self) -> str:
        """The task's identifier."""
        return self._job.identifier

    @property
    def attempt(self) -> int:
        """The number of this attempt; 1 for the first."""
        return self._job.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts there may be: the job's number, or the task's if that is less."""
        most = self._job.max_attempts
        return most if self._most is None else min(most, self._most)

    @property
    def queue_name(self) -> str | None:
        """The named queue; None if it is in none."""
        return self._job.queue_name

    @property
    def key(self) -> str | None:
        """The job key; None if it has none."""
        return self._job.key

    @property
    def priority(self) -> int:
        """The priority; smaller is first."""
        return self._job.priority

    @property
    def run_at(self) -> datetime:
        """When it was due, in UTC."""
        return moment(self._job.run_at)

    @property
    def slot(self) -> datetime:
        """The `run_at` of the first attempt: a retry moves `run_at`, and leaves this."""
        slot = self._job.slot
        return moment(self._job.run_at if slot is None else slot)

    @property
    def created_at(self) -> datetime:
        """When it was added, in UTC."""
        return moment(self._job.created_at)

    @property
    def revision(self) -> int:
        """How often a keyed add has replaced it."""
        return self._job.revision

    @property
    def flags(self) -> list[str]:
        """Its flags; empty if it has none."""
        return self._job.flags or []

    @property
    def trace(self) -> str | None:
        """The trace context of whoever added it, a W3C traceparent; None if it has none."""
        return self._job.trace

    @property
    def raw_payload(self) -> str:
        """The payload as JSON text."""
        return self._job.payload

    @property
    def logger(self) -> JobLogger:
        """Logs with the job's id, identifier and attempt."""
        if self._logger is None:
            job = self._job
            self._logger = JobLogger(
                logger, {"job_id": job.id, "task": job.identifier, "attempt": job.attempt}
            )
        return self._logger

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job fails for good if this attempt fails."""
        return self.attempt >= self.max_attempts

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was cancelled or timed out, or its worker must stop or is past its lease.

        An async task is cancelled without asking; a plain function should check this regularly.
        """
        return self._is_cancelled

    def raise_if_cancelled(self) -> None:
        """Raises JobCancelledError once the attempt is cancelled."""
        if self.cancelled:
            raise JobCancelledError(f"Job {self.id} ({self.identifier}) was cancelled.")

    def wait_cancelled(self, timeout: float) -> bool:
        """Blocks up to `timeout` seconds; True as soon as the attempt is cancelled."""
        with _making_events:
            if self._event is None:
                self._event = threading.Event()
            if self._is_cancelled:
                self._event.set()
        return self._event.wait(timeout)

    def _cancel(self) -> None:
        """Tells the task that it has to stop. Thread-safe."""
        with _making_events:
            self._is_cancelled = True
            if self._event is not None:
                self._event.set()

    def _stop_for(self, cause: BaseException) -> None:
        """Notes why it has to stop: a JobTimeoutError, a Cancel, a GivenBack."""
        # A job that goes back has no other end.
        if not isinstance(self._cause, GivenBack):
            self._cause = cause

    def _leave(self) -> None:
        """Notes that the attempt is over, although its plain function runs on."""
        self._is_left = True

    def _end(self, error: BaseException | None) -> BaseException | None:
        """What the end of the task, by this error or by none, means for the attempt; None: it ended well."""
        obeys = isinstance(error, asyncio.CancelledError | JobCancelledError)
        goes_back = error is not None and isinstance(self._cause, GivenBack)
        if self._cause is not None and (obeys or goes_back or self._is_left):
            return self._cause
        return error

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        """Shows how far the job is, in `tidemill.jobs`: from 0 to 1, and in words; None: not known.

        The last word of an attempt stays in its history.

        Never waits: the worker writes the last word of each job twice a second, and not at all while the
        database is away. A fraction beyond 0 or 1 counts as that, and of a message the first 500 characters.

        Raises TypeError for what is no number or no text, and ValueError for NaN.
        """
        fraction, message = _checked_progress(fraction, message)
        # For history, where that is kept.
        self._job.told = (fraction, message)
        if self._board is not None:
            self._board.tell(self._job.id, self._job.token, fraction, message)

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """A connection for the task's own SQL; commits at the end, rolls back on an exception."""
        _expect_event_loop("connection")
        return self.app.connection()

    def add_job(
        self,
        identifier: str,
        payload: Any = None,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> Awaitable[Job]:
        """Adds a job; await it; arguments as for `App.add_job`."""
        _expect_event_loop("add_job")
        return self.app.add_job(identifier, payload, connection=connection, **options)

    @property
    def sync(self) -> SyncJobContext:
        """The blocking face, for plain functions."""
        return SyncJobContext(self.app, self)


def _checked_progress(fraction: Any, message: Any) -> tuple[float | None, str | None]:
    if fraction is not None:
        if not isinstance(fraction, int | float) or isinstance(fraction, bool):
            raise TypeError(
                f"The progress of a job is {shown(fraction)}; it must be a number from 0 to 1, or None."
            )
        if fraction != fraction:
            raise ValueError("The progress of a job is NaN; it must be a number from 0 to 1, or None.")
        # A sum of parts may be a trifle more than 1.
        # Before it becomes a float, which a large number may not fit.
        fraction = float(min(1, max(0, fraction)))
    if message is not None:
        if not isinstance(message, str):
            raise TypeError(
                f"The message of a job's progress is {shown(message)}; it must be a text, or None."
            )
        # PostgreSQL's text cannot hold NUL or half of a surrogate pair.
        message = message[:_LONGEST_MESSAGE].replace("\0", "\N{REPLACEMENT CHARACTER}")
        message = message.encode(errors="replace").decode()
    return fraction, message


def _expect_event_loop(method: str) -> None:
    """Raises TypeError in a plain function, where a coroutine would silently never run."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise TypeError(
            f"A plain function cannot await job.{method}(...): call job.sync.{method}(...)."
        ) from None


@dataclass(frozen=True, slots=True)
class SyncJobContext:
    """`connection`, `add_job` and `progress` for plain functions."""

    app: Producer
    _job: JobContext

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        """See `JobContext.progress`."""
        self._job.progress(fraction, message)

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """A connection for the task's own SQL; commits at the end, rolls back on an exception."""
        return self.app.sync.connection()

    def add_job(
        self,
        identifier: str,
        payload: Any = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Adds a job; arguments as for `App.add_job`."""
        return self.app.sync.add_job(identifier, payload, connection=connection, **options)
