"""The blocking face of an App."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import tuple_row

from tidemill.database.connect import explained, prepare_session
from tidemill.database.migrate import MigrationReport, migrate
from tidemill.jobs import Job, JobKeyMode, JobSpec
from tidemill.queue import client
from tidemill.queue.client import ATTEMPTS, Call, expect, may_repeat, raise_explained

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from tidemill.app import App
    from tidemill.worker_options import WorkerOptions

T = TypeVar("T")


class SyncApp:
    """The blocking face of an App: the same methods, for scripts, Django, Flask and plain tasks."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._pool: ConnectionPool | None = None
        self._lock = threading.Lock()
        # Opened on behalf of the app's async face, and closed with it.
        self._is_shared = False

    def migrate(self) -> MigrationReport:
        """See `App.migrate`."""
        return migrate(self._app.database().conninfo)

    def open(self) -> None:
        """See `App.open`."""
        with self._lock:
            self._open()
            self._is_shared = False

    def close(self) -> None:
        """See `App.close`."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def close_shared(self) -> None:
        """Closes what was opened because the async face was open."""
        if self._is_shared:
            self.close()

    def _open(self) -> ConnectionPool:
        if self._pool is None:
            from psycopg_pool import ConnectionPool

            pool = ConnectionPool(
                self._app.database().for_application("tidemill"),
                min_size=0,
                max_size=self._app.pool_size,
                configure=prepare_session,
                open=False,
            )
            pool.open()
            self._pool = pool
        return self._pool

    def _kept_pool(self) -> ConnectionPool | None:
        if self._pool is None and self._app.is_open:
            with self._lock:
                self._is_shared = self._pool is None
                return self._open()
        return self._pool

    def __enter__(self) -> SyncApp:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """See `App.connection`."""
        pool = self._kept_pool()
        if pool is not None:
            with pool.connection() as connection:
                yield connection
            return
        with explained():
            opened = psycopg.connect(self._app.database().for_application("tidemill"))
        with opened as connection:
            prepare_session(connection)
            yield connection

    def _run(self, call: Call[T], connection: psycopg.Connection[Any] | None) -> T:
        expect(connection, psycopg.Connection, "app")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                given = self.connection() if connection is None else nullcontext(connection)
                with given as used, used.cursor(row_factory=tuple_row) as cursor:
                    return call.read(cursor.execute(call.query, call.params).fetchall())
            except psycopg.Error as error:
                if not may_repeat(error, connection, attempt):
                    raise_explained(error)
        raise AssertionError("unreachable")

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
        spec = JobSpec(
            identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, job_key_mode
        )
        [job] = self._run(client.add_jobs([spec]), connection)
        return job

    def add_jobs(
        self, specs: Sequence[JobSpec], *, connection: psycopg.Connection[Any] | None = None
    ) -> list[Job]:
        """See `App.add_jobs`."""
        return self._run(client.add_jobs(specs), connection)

    def remove_job(self, job_key: str, *, connection: psycopg.Connection[Any] | None = None) -> Job | None:
        """See `App.remove_job`."""
        return self._run(client.remove_job(job_key), connection)

    def get_job(
        self,
        job_id: int | None = None,
        *,
        key: str | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> Job | None:
        """See `App.get_job`."""
        return self._run(client.get_job(job_id, key), connection)

    def complete_jobs(
        self, job_ids: Sequence[int], *, connection: psycopg.Connection[Any] | None = None
    ) -> list[Job]:
        """See `App.complete_jobs`."""
        return self._run(client.complete_jobs(job_ids), connection)

    def permanently_fail_jobs(
        self,
        job_ids: Sequence[int],
        error_message: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
    ) -> list[Job]:
        """See `App.permanently_fail_jobs`."""
        return self._run(client.permanently_fail_jobs(job_ids, error_message), connection)

    def reschedule_jobs(
        self,
        job_ids: Sequence[int],
        *,
        run_at: datetime | timedelta | None = None,
        priority: int | None = None,
        attempts: int | None = None,
        max_attempts: int | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> list[Job]:
        """See `App.reschedule_jobs`."""
        return self._run(
            client.reschedule_jobs(job_ids, run_at, priority, attempts, max_attempts), connection
        )

    def cancel_jobs(
        self,
        job_ids: Sequence[int],
        reason: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
    ) -> list[Job]:
        """See `App.cancel_jobs`."""
        return self._run(client.cancel_jobs(job_ids, reason), connection)

    def force_unlock_workers(
        self, worker_ids: Sequence[str], *, connection: psycopg.Connection[Any] | None = None
    ) -> None:
        """See `App.force_unlock_workers`."""
        self._run(client.force_unlock_workers(worker_ids), connection)

    def run_until_empty(self, options: WorkerOptions | None = None) -> None:
        """See `App.run_until_empty`."""
        asyncio.run(self._app.run_until_empty(options))
