"""What a task is handed beside its payload."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Coroutine, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import psycopg

from tidemill.errors import JobCancelledError
from tidemill.jobs import Job, JobKeyMode, JobSpec


class SyncProducer(Protocol):
    """The blocking face of a Producer."""

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """See `App.connection`."""

    def add_job(
        self,
        identifier: str,
        payload: Any = None,
        *,
        queue_name: str | None = None,
        run_at: datetime | timedelta | None = None,
        max_attempts: int | None = None,
        job_key: str | None = None,
        priority: int | None = None,
        flags: Sequence[str] | None = None,
        job_key_mode: JobKeyMode | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> Job:
        """See `App.add_job`."""

    def add_jobs(
        self, specs: Sequence[JobSpec], *, connection: psycopg.Connection[Any] | None = None
    ) -> list[Job]:
        """See `App.add_jobs`."""


class Producer(Protocol):
    """Adds jobs, and gives connections to their database. An `App` is one."""

    @property
    def sync(self) -> SyncProducer:
        """The blocking face."""

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """See `App.connection`."""

    def add_job(
        self,
        identifier: str,
        payload: Any = None,
        *,
        queue_name: str | None = None,
        run_at: datetime | timedelta | None = None,
        max_attempts: int | None = None,
        job_key: str | None = None,
        priority: int | None = None,
        flags: Sequence[str] | None = None,
        job_key_mode: JobKeyMode | None = None,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> Coroutine[Any, Any, Job]:
        """See `App.add_job`."""

    def add_jobs(
        self, specs: Sequence[JobSpec], *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> Coroutine[Any, Any, list[Job]]:
        """See `App.add_jobs`."""


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

    app: Producer
    id: int
    identifier: str
    attempt: int
    """1 for the first."""
    max_attempts: int
    queue_name: str | None
    key: str | None
    priority: int
    run_at: datetime
    slot: datetime
    """The `run_at` of the first attempt: a retry moves `run_at`, and leaves this."""
    created_at: datetime
    revision: int
    flags: list[str]
    raw_payload: str
    """The payload as JSON text."""
    worker_id: str
    logger: JobLogger
    """Logs with the job's id, identifier and attempt."""
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _cancel_reason: str = "Cancelled"
    """What `last_error` says of a cancel by somebody else."""

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job fails for good if this attempt fails."""
        return self.attempt >= self.max_attempts

    @property
    def cancelled(self) -> bool:
        """Whether this attempt was cancelled or timed out, or its worker must stop or is past its lease.

        An async task is cancelled without asking; a plain function should check this regularly.
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
        """Adds a job; await it; arguments as for `App.add_job`."""
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

    app: Producer

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """A connection for the task's own SQL; commits at the end, rolls back on an exception."""
        return self.app.sync.connection()

    def add_job(self, identifier: str, payload: Any = None, **options: Any) -> Job:
        """Adds a job; arguments as for `App.add_job`."""
        return self.app.sync.add_job(identifier, payload, **options)
