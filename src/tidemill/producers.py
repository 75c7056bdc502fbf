"""What adds jobs, by its shape: an `App` is one, but a task's context must not know it."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, Unpack

import psycopg

from tidemill.jobs import Job, JobOptions, JobSpec


class SyncProducer(Protocol):
    """The blocking face of a Producer."""

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """See `App.connection`."""

    def add_job(
        self,
        identifier: str,
        payload: Any = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
        **options: Unpack[JobOptions],
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
        connection: psycopg.AsyncConnection[Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> Coroutine[Any, Any, Job]:
        """See `App.add_job`."""

    def add_jobs(
        self, specs: Sequence[JobSpec], *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> Coroutine[Any, Any, list[Job]]:
        """See `App.add_jobs`."""
