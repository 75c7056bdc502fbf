"""App: a database and tasks. The front door for library users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import psycopg
from psycopg.rows import tuple_row

from tidemill import tasks as task_module
from tidemill.connections import Connections
from tidemill.context import JobContext, SyncJobContext
from tidemill.database.find import Database
from tidemill.database.migrate import MigrationReport
from tidemill.errors import TidemillError
from tidemill.jobs import Job, JobKeyMode, JobSpec, PauseKind, WhyWaiting
from tidemill.keeps import Keep
from tidemill.limits import Limit, Rate
from tidemill.middleware import Adding, Middleware, around_add
from tidemill.queue import client
from tidemill.queue.client import ATTEMPTS, Call, expect, may_repeat, raise_explained
from tidemill.retry import Delay, seconds
from tidemill.sync import SyncApp
from tidemill.task_options import TaskOptions
from tidemill.tasks import Decorate, Task, TaskRegistry
from tidemill.waiting import given_up

if TYPE_CHECKING:
    from tidemill.worker_options import WorkerOptions

T = TypeVar("T")
P = TypeVar("P")


class App:
    """Tasks, and the database that their jobs live in.

    database    a `postgresql://` URL or libpq conninfo. Without it the environment's
                DATABASE_URL, else an embedded PostgreSQL under `.tidemill/` of the working
                directory or a parent, which starts on first use and stops after its last
                user. Under pytest, TIDEMILL_TEST_DATABASE comes before both, and without it
                no jobs are run there
    pool_size   most connections for adding jobs and for tasks' own SQL, on each face. Default:
                10, and in a worker twice as many as it runs jobs at once
    middleware  called around every job and every add, see `tidemill.Middleware`

    Methods that reach the database are coroutines; `app.sync` has the same ones for
    blocking code. Inside `async with app:` (or `with app.sync:`) connections are
    pooled; outside, each call opens its own.
    """

    def __init__(
        self,
        database: str | None = None,
        *,
        pool_size: int | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        _check(database, pool_size, middleware)
        self.tasks = TaskRegistry()
        self.middleware = list(middleware)
        self._connections = Connections(database, pool_size)
        self.sync = SyncApp(self._connections, self.tasks, self._around_add, self.run_until_empty)

    # Tasks

    @overload
    def task(self, function: Callable[[P], Any], /, **options: Unpack[TaskOptions]) -> Task[P]: ...
    @overload
    def task(
        self, function: Callable[[P, JobContext], Any], /, **options: Unpack[TaskOptions]
    ) -> Task[P]: ...
    @overload
    def task(
        self, function: Callable[[P, SyncJobContext], Any], /, **options: Unpack[TaskOptions]
    ) -> Task[P]: ...
    @overload
    def task(self, function: Callable[..., Any], /, **options: Unpack[TaskOptions]) -> Task[Any]: ...
    @overload
    def task(self, identifier: str | None = None, /, **options: Unpack[TaskOptions]) -> Decorate: ...
    def task(self, first: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Like `tidemill.task`, and registers the task with this app."""
        made = task_module.task(first, **options)
        return (
            self.register(made) if isinstance(made, Task) else lambda function: self.register(made(function))
        )

    def register(self, task: Task[P]) -> Task[P]:
        """Adds a task to those that this app's workers run."""
        self.tasks.add(task)
        task.app = self
        return task

    # Database

    def database(self) -> Database:
        """The database, which is found on first use; an embedded one is migrated, too."""
        return self._connections.database()

    @property
    def database_url(self) -> str | None:
        """The database that was named; it can be changed until the database is first used.

        Later a change raises TidemillError.
        """
        return self._connections.database_url

    @database_url.setter
    def database_url(self, database: str | None) -> None:
        self._connections.name_database(database)

    async def migrate(self) -> MigrationReport:
        """Brings the schema to this version. It is safe to call this again, and in parallel."""
        return await asyncio.to_thread(self.sync.migrate)

    @property
    def is_open(self) -> bool:
        """Whether connections are pooled: after `open`, and while a worker of the app runs."""
        return self._connections.is_open

    async def open(self) -> None:
        """Has calls share a pool of connections, until `close` was called as often as `open`."""
        await self._connections.open()

    async def close(self) -> None:
        """Closes the pool after its last user. An embedded server runs until the process ends."""
        await self._connections.close()

    async def __aenter__(self) -> App:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _fit_pools(self, name: str, size: int, sync_size: int, *, at_most: bool) -> None:
        """Sets the sizes of the two pools, as a worker does that starts.

        A `pool_size` that was given to `App` stays; with `at_most` it becomes smaller if it must.
        """
        self._connections.fit(name, size, sync_size, at_most=at_most)

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection]:
        """A connection in a transaction that commits at the end, or rolls back on an exception."""
        return self._connections.connection()

    async def _run(self, call: Call[T], connection: psycopg.AsyncConnection[Any] | None) -> T:
        expect(connection, psycopg.AsyncConnection, "app.sync")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                given = self.connection() if connection is None else nullcontext(connection)
                async with given as used, used.cursor(row_factory=tuple_row) as cursor:
                    await cursor.execute(call.query, call.params)
                    return call.read(await cursor.fetchall())
            except psycopg.Error as error:
                if not may_repeat(error, connection, attempt):
                    raise_explained(error)
        raise AssertionError("unreachable")

    # Jobs

    async def add_job(
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
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> Job:
        """Adds one job and returns it; the options are those of SQL's `tidemill.add_job`.

        With `connection` it is added in that connection's transaction: it exists once you
        commit, and does not if you roll back.

        Raises InvalidJobError, SchemaError, MissingRightsError, DatabaseUnavailableError.
        """
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
        [job] = await self.add_jobs([spec], connection=connection)
        return job

    async def add_jobs(
        self, specs: Sequence[JobSpec], *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> list[Job]:
        """Adds jobs in one statement, all or none; returns them in the order of the specs."""
        with self._around_add(specs) as adding:
            added = await self._run(client.add_jobs(adding.specs, adding.trace), connection)
            adding.jobs = added
        return added

    def _around_add(self, specs: Sequence[JobSpec]) -> AbstractContextManager[Adding]:
        """What is around an add of these jobs, with the options of their tasks."""
        return around_add(self.middleware, list(map(self.tasks.complete, specs)))

    async def wait(self, job: Job | int, *, timeout: Delay | None = None) -> Any:
        """Waits for the end of a job, and returns what its task returned (None without `keep_result`).

        job      a Job, or the id of one. Its history must be kept: see the options `keep` and `keep_result`
        timeout  seconds, a timedelta or a text such as "30s"; default none

        It learns of the end by a notification, and looks once a second besides. All who wait share one
        connection. Do not wait in a task for a job of the same worker: it may have no slot left for it.

        Raises JobFailedError if it has failed for good, was cancelled or removed, TimeoutError,
        InvalidJobError where no history of it is kept, ResultError if its result cannot be read here,
        SchemaError, and MissingRightsError: the role must be a reader.
        """
        limit = None if timeout is None else seconds(timeout)
        future = self.sync._ask(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), limit)
        except TimeoutError:
            raise given_up(future, job, limit) from None
        finally:
            self.sync._waiting.forget(future)

    async def remove_job(
        self, job_key: str, *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> Job | None:
        """Removes the job with this key and returns it, or None. A running job finishes, without a retry."""
        return await self._run(client.remove_job(job_key), connection)

    async def get_job(
        self,
        job_id: int | None = None,
        *,
        key: str | None = None,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> Job | None:
        """Returns the job with this id or key; None once it is done."""
        return await self._run(client.get_job(job_id, key), connection)

    async def complete_jobs(
        self, job_ids: Sequence[int], *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> list[Job]:
        """Marks waiting jobs as done, which deletes them."""
        return await self._run(client.complete_jobs(job_ids), connection)

    async def permanently_fail_jobs(
        self,
        job_ids: Sequence[int],
        error_message: str | None = None,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> list[Job]:
        """Marks waiting jobs as failed for good."""
        return await self._run(client.permanently_fail_jobs(job_ids, error_message), connection)

    async def reschedule_jobs(
        self,
        job_ids: Sequence[int],
        *,
        run_at: datetime | timedelta | None = None,
        priority: int | None = None,
        attempts: int | None = None,
        max_attempts: int | None = None,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> list[Job]:
        """Changes jobs that are not running; `attempts=0` brings failed ones back."""
        return await self._run(
            client.reschedule_jobs(job_ids, run_at, priority, attempts, max_attempts), connection
        )

    async def cancel_jobs(
        self,
        job_ids: Sequence[int],
        reason: str | None = None,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> list[Job]:
        """Fails waiting jobs for good, and asks running ones to stop."""
        return await self._run(client.cancel_jobs(job_ids, reason), connection)

    async def force_unlock_workers(
        self, worker_ids: Sequence[str], *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> None:
        """Frees the jobs and named queues of these workers, which must be gone."""
        await self._run(client.force_unlock_workers(worker_ids), connection)

    async def stop_worker(
        self,
        worker_id: str,
        reason: str | None = None,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> None:
        """Asks a worker to stop as SIGTERM does, wherever it runs."""
        await self._run(client.stop_worker(worker_id, reason), connection)

    async def pause(
        self,
        kind: PauseKind,
        name: str | None = None,
        reason: str | None = None,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> bool:
        """Pauses a task, a named queue or `all`, until `resume`; False if it is paused already."""
        return await self._run(client.pause(kind, name, reason), connection)

    async def resume(
        self,
        kind: PauseKind,
        name: str | None = None,
        *,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> bool:
        """Ends a pause; False if there was none."""
        return await self._run(client.resume(kind, name), connection)

    async def why_waiting(
        self, job_id: int, *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> WhyWaiting:
        """Why a job does not run, and what to do about it."""
        return await self._run(client.why_waiting(job_id), connection)

    async def set_limit(
        self, name: str, limit: Limit | Rate, *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> None:
        """Makes a limit that jobs name with `limit_name`, or sets all of the one with that name.

        Raises InvalidJobError for what cannot be meant, MissingRightsError.
        """
        await self._run(client.set_limit(name, limit), connection)

    async def remove_limit(
        self, name: str, *, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> None:
        """Removes a limit; its jobs that wait are free to run. Raises InvalidJobError if there is none."""
        await self._run(client.remove_limit(name), connection)

    # Workers

    async def run_worker(self, options: WorkerOptions | None = None) -> None:
        """Runs jobs until cancelled or, with `once`, until none is ready. Migrates first."""
        from tidemill.worker import Worker

        await Worker(self, options).run()

    async def run_until_empty(self, options: WorkerOptions | None = None) -> None:
        """Runs jobs until none is ready."""
        from dataclasses import replace

        from tidemill.worker import Worker
        from tidemill.worker_options import WorkerOptions, checked_options

        await Worker(self, replace(checked_options(options) or WorkerOptions(), once=True)).run()


def _check(database: Any, pool_size: Any, middleware: Any) -> None:
    """Raises TidemillError for arguments of `App` that make no sense."""
    if database is not None and not isinstance(database, str):
        raise TidemillError(
            f"database is {type(database).__name__}; it must be a text: a postgresql:// URL, or libpq "
            "conninfo."
        )
    if pool_size is not None and (type(pool_size) is not int or not 1 <= pool_size <= 10_000):
        raise TidemillError(f"pool_size is {pool_size!r}; it must be a whole number, 1 to 10,000.")
    if not isinstance(middleware, Sequence) or not all(isinstance(one, Middleware) for one in middleware):
        raise TidemillError(
            f"middleware is {middleware!r}; it must be a list of instances of classes that derive from "
            "tidemill.Middleware, such as [Metrics()]."
        )
