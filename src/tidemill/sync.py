"""The blocking face of an App."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import tuple_row

from tidemill.connections import Connections
from tidemill.database.migrate import MigrationReport, migrate
from tidemill.jobs import Job, JobKeyMode, JobSpec, PauseKind, WhyWaiting
from tidemill.keeps import Keep
from tidemill.limits import Limit, Rate
from tidemill.middleware import Adding
from tidemill.queue import client
from tidemill.queue.client import ATTEMPTS, Call, expect, may_repeat, raise_explained
from tidemill.retry import Delay, seconds
from tidemill.tasks import TaskRegistry
from tidemill.waiting import Waiting, given_up

if TYPE_CHECKING:
    from tidemill.worker_options import WorkerOptions

T = TypeVar("T")


class SyncApp:
    """The blocking face of an App: the same methods, for scripts, Django, Flask and plain tasks."""

    def __init__(
        self,
        connections: Connections,
        tasks: TaskRegistry,
        around_add: Callable[[Sequence[JobSpec]], AbstractContextManager[Adding]],
        run_until_empty: Callable[[WorkerOptions | None], Coroutine[Any, Any, None]],
    ) -> None:
        self._connections = connections
        self._tasks = tasks
        self._around_add = around_add
        self._run_until_empty = run_until_empty
        self._waiting = Waiting(connections)

    def migrate(self) -> MigrationReport:
        """See `App.migrate`."""
        return migrate(self._connections.database().conninfo)

    def open(self) -> None:
        """See `App.open`."""
        self._connections.open_sync()

    def close(self) -> None:
        """See `App.close`."""
        self._connections.close_sync()

    def __enter__(self) -> SyncApp:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def connection(self) -> AbstractContextManager[psycopg.Connection]:
        """See `App.connection`."""
        return self._connections.sync_connection()

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
        keep: Keep | None = None,
        trace: str | None = None,
        limit_name: str | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> Job:
        """See `App.add_job`."""
        spec = JobSpec(
            identifier,
            payload,
            queue_name,
            run_at,
            max_attempts,
            job_key,
            priority,
            flags,
            job_key_mode,
            keep,
            trace,
            limit_name,
        )
        [job] = self.add_jobs([spec], connection=connection)
        return job

    def add_jobs(
        self, specs: Sequence[JobSpec], *, connection: psycopg.Connection[Any] | None = None
    ) -> list[Job]:
        """See `App.add_jobs`."""
        with self._around_add(specs) as adding:
            added = self._run(client.add_jobs(adding.specs, adding.trace), connection)
            adding.jobs = added
        return added

    def wait(self, job: Job | int, *, timeout: Delay | None = None) -> Any:
        """See `App.wait`."""
        limit = None if timeout is None else seconds(timeout)
        future = self._ask(job)
        try:
            return future.result(limit)
        except TimeoutError:
            raise given_up(future, job, limit) from None
        finally:
            self._waiting.forget(future)

    def _ask(self, job: Job | int) -> Future[Any]:
        task = self._tasks.get(job.identifier) if isinstance(job, Job) else None
        return self._waiting.ask(job, is_kept=task is not None and bool(task.keep or task.keep_result))

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

    def stop_worker(
        self,
        worker_id: str,
        reason: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        """See `App.stop_worker`."""
        self._run(client.stop_worker(worker_id, reason), connection)

    def pause(
        self,
        kind: PauseKind,
        name: str | None = None,
        reason: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
    ) -> bool:
        """See `App.pause`."""
        return self._run(client.pause(kind, name, reason), connection)

    def resume(
        self,
        kind: PauseKind,
        name: str | None = None,
        *,
        connection: psycopg.Connection[Any] | None = None,
    ) -> bool:
        """See `App.resume`."""
        return self._run(client.resume(kind, name), connection)

    def why_waiting(self, job_id: int, *, connection: psycopg.Connection[Any] | None = None) -> WhyWaiting:
        """See `App.why_waiting`."""
        return self._run(client.why_waiting(job_id), connection)

    def set_limit(
        self, name: str, limit: Limit | Rate, *, connection: psycopg.Connection[Any] | None = None
    ) -> None:
        """See `App.set_limit`."""
        self._run(client.set_limit(name, limit), connection)

    def remove_limit(self, name: str, *, connection: psycopg.Connection[Any] | None = None) -> None:
        """See `App.remove_limit`."""
        self._run(client.remove_limit(name), connection)

    def run_until_empty(self, options: WorkerOptions | None = None) -> None:
        """See `App.run_until_empty`."""
        asyncio.run(self._run_until_empty(options))
