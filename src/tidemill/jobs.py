"""Jobs as users meet them: to add, to read, and inside a task."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from tidemill.errors import InvalidJobError, JobCancelledError
from tidemill.retry import Delay

if TYPE_CHECKING:
    from tidemill.app import App

JobKeyMode = Literal["replace", "preserve_run_at", "unsafe_dedupe"]
State = Literal["ready", "scheduled", "running", "failed"]
_SMALLINT = range(-32768, 32768)


@dataclass(slots=True)
class JobSpec:
    """A job to add. Only the identifier is needed; None means the default.

    Raises InvalidJobError for a number out of range and a `run_at` without a time zone.
    """

    identifier: str
    payload: Any = None
    """Anything that msgspec can write as JSON; default {}."""
    queue_name: str | None = None
    """Jobs of one named queue run one at a time, in order."""
    run_at: datetime | timedelta | None = None
    """Earliest start: a time with a time zone, or a wait counted on the database's clock."""
    max_attempts: int | None = None
    job_key: str | None = None
    priority: int | None = None
    """Smaller runs first; default 0."""
    flags: Sequence[str] | None = None
    job_key_mode: JobKeyMode | None = None

    def __post_init__(self) -> None:
        # Untyped callers hand over anything.
        identifier: Any = self.identifier
        if not isinstance(identifier, str) or not identifier:
            raise InvalidJobError(
                f"identifier must be the name of a task, not {identifier!r}. "
                "With a task object use task.add(payload) or task.spec(payload)."
            )
        for name in ("max_attempts", "priority"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int):
                raise InvalidJobError(f"{name} {value!r} of job {self.identifier!r} is not an integer.")
            if value not in _SMALLINT:
                raise InvalidJobError(
                    f"{name} {value} of job {self.identifier!r} is out of range: -32768 to 32767.", "22003"
                )
        for name in ("queue_name", "job_key", "job_key_mode"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidJobError(f"{name} {value!r} of job {self.identifier!r} is not a string.")
        self.run_at = checked_run_at(self.run_at, f"job {self.identifier!r}")
        if isinstance(self.flags, str):
            raise InvalidJobError(
                f"flags of job {self.identifier!r} is one string; use a list: [{self.flags!r}]."
            )


def checked_run_at(run_at: Any, whose: str) -> datetime | timedelta | None:
    """A `run_at` as it was given. Raises InvalidJobError unless it says a moment without doubt."""
    if isinstance(run_at, datetime) and run_at.tzinfo is None:
        raise InvalidJobError(
            f"run_at {run_at.isoformat()} of {whose} has no time zone: "
            "use datetime.now(UTC) + ..., or a timedelta for a wait."
        )
    if run_at is None or isinstance(run_at, datetime | timedelta):
        return run_at
    raise InvalidJobError(
        f"run_at {run_at!r} of {whose} is neither a datetime with a time zone nor a timedelta."
    )


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands in the database; columns as in the view `tidemill.jobs`."""

    id: int
    identifier: str
    queue_name: str | None
    payload: Any
    state: State
    priority: int
    run_at: datetime
    attempts: int
    max_attempts: int
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    key: str | None
    locked_at: datetime | None
    locked_by: str | None
    revision: int
    flags: list[str] | None


class Outcome(Exception):
    """What a task may return or raise to say how its job ends."""


class Retry(Outcome):
    """Run the job again after `delay`; the attempt counts. Return it or raise it."""

    def __init__(self, delay: Delay, reason: str = "The task asked for a retry") -> None:
        super().__init__(reason)
        self.delay = delay


class Cancel(Outcome):
    """Fail the job for good, with `reason` as its last_error. Return it or raise it."""

    def __init__(self, reason: str = "The task cancelled its job") -> None:
        super().__init__(reason)


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds a job's id, identifier and attempt to each record, beside the caller's own extras."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merges the extras."""
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}


@dataclass(slots=True, eq=False)
class JobContext:
    """What a task is handed beside its payload.

    Methods that wait are coroutines; plain functions use the same names on
    `job.sync`, for instance `job.sync.add_job(...)`.
    """

    app: App
    id: int
    identifier: str
    attempt: int
    """1 for the first."""
    max_attempts: int
    queue_name: str | None
    key: str | None
    priority: int
    run_at: datetime
    created_at: datetime
    revision: int
    flags: list[str]
    raw_payload: str
    """The payload as JSON text."""
    worker_id: str
    logger: JobLogger
    """Logs with the job's id, identifier and attempt."""
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure now is a failure for good."""
        return self.attempt >= self.max_attempts

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was cancelled, timed out, or its worker must stop.

        An async task is cancelled by itself; a plain function should look now and then.
        """
        return self._cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises JobCancelledError once the attempt is cancelled."""
        if self.cancelled:
            raise JobCancelledError(f"Job {self.id} ({self.identifier}) was cancelled.")

    def wait_cancelled(self, timeout: float) -> bool:
        """Blocks up to `timeout` seconds; True as soon as the attempt is cancelled."""
        return self._cancelled.wait(timeout)

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """A connection for the task's own SQL; commits at the end, rolls back on an exception."""
        _expect_event_loop("connection")
        return self.app.connection()

    def add_job(self, identifier: str, payload: Any = None, **options: Any) -> Awaitable[Job]:
        """Adds a job; to be awaited; arguments as `App.add_job`."""
        _expect_event_loop("add_job")
        return self.app.add_job(identifier, payload, **options)

    @property
    def sync(self) -> SyncJobContext:
        """The blocking face, for plain functions."""
        return SyncJobContext(self.app)


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
    """`connection` and `add_job` for plain functions."""

    app: App

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """A connection for the task's own SQL; commits at the end, rolls back on an exception."""
        return self.app.sync.connection()

    def add_job(self, identifier: str, payload: Any = None, **options: Any) -> Job:
        """Adds a job; arguments as `App.add_job`."""
        return self.app.sync.add_job(identifier, payload, **options)
