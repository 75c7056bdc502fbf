"""The worker: ties the engine, the executor, the heartbeat and the listener together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as package_version
from typing import Any, Protocol

import psycopg

from tidemill.actions.service import ActionService
from tidemill.context import Producer
from tidemill.coroutines import finish, first
from tidemill.database.connect import Database, connect, explained
from tidemill.database.listen import Listener
from tidemill.database.migrate import MigrationReport, require_schema
from tidemill.database.patient import connect_patiently
from tidemill.database.sql import query
from tidemill.errors import TidemillError
from tidemill.middleware import Hooks, LogJobs, Middleware
from tidemill.queue.engine import Engine
from tidemill.queue.execute import Executor
from tidemill.queue.heartbeat import Heartbeat, Registration
from tidemill.tasks import Task
from tidemill.worker_options import WorkerOptions

logger = logging.getLogger("tidemill")

__all__ = ["Worker", "WorkerOptions"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LONGEST_PATIENCE = 15.0
_SWITCH_SECONDS = 0.0005


class Host(Producer, Protocol):
    """What a worker needs of its app. An `App` is one."""

    @property
    def tasks(self) -> Mapping[str, Task[Any]]:
        """The tasks to run."""

    @property
    def middleware(self) -> Sequence[Middleware]:
        """What is called around every job."""

    def database(self) -> Database:
        """See `App.database`."""

    async def migrate(self) -> MigrationReport:
        """See `App.migrate`."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc: object) -> None: ...


class Worker:
    """Runs an app's tasks. One use: `run` once, `stop` from signals or other coroutines."""

    def __init__(self, app: Host, options: WorkerOptions | None = None) -> None:
        self.id = f"worker-{secrets.token_hex(8)}"
        self._app = app
        self._options = options or WorkerOptions()
        # After a lease's time others have the jobs, and waiting for the database makes no sense.
        self._patience = min(_LONGEST_PATIENCE, self._options.lease)
        self._hooks = Hooks([LogJobs(), *app.middleware])
        self._stop_asked = asyncio.Event()
        self._hurry_asked = asyncio.Event()
        self._engine_ended = asyncio.Event()
        self._engine_error: BaseException | None = None
        self._outdated: TidemillError | None = None
        self.ready = asyncio.Event()
        """Set once the worker claims jobs."""

    def stop(self, *, hurry: bool = False) -> None:
        """Stops: claims no more, lets jobs finish within the grace period, gives the rest back.

        A second call, or `hurry`, gives them back at once. Call it on the worker's event loop.
        """
        if hurry or self._stop_asked.is_set():
            self._hurry_asked.set()
        self._stop_asked.set()

    async def run(self, *, handle_signals: bool = False) -> None:
        """Runs until stopped or, with `once`, until nothing is ready.

        With `handle_signals` SIGTERM and SIGINT stop it, a second one in a hurry.

        Raises TidemillError when it cannot start, or when a newer schema no longer fits.
        """
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT) if handle_signals else ()
        for signum in handled:
            loop.add_signal_handler(signum, self._on_signal, signum)
        # The engine's thread takes the interpreter's lock a dozen times for a claim, and while
        # jobs compute, waits for it so long each time: 5 ms by default.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
        try:
            await self._run()
        finally:
            sys.setswitchinterval(interval)
            for signum in handled:
                loop.remove_signal_handler(signum)
        if self._outdated is not None:
            raise self._outdated

    def _on_signal(self, signum: signal.Signals) -> None:
        if self._stop_asked.is_set():
            logger.info("%s again: running jobs are given back now", signum.name)
        else:
            logger.info(
                "%s: no new jobs; waiting up to %g s for running ones (again to hurry)",
                signum.name,
                self._options.grace_period,
            )
        self.stop()

    async def _run(self) -> None:
        options, loop = self._options, asyncio.get_running_loop()
        if not (self._app.tasks or options.action_concurrency or options.crontab):
            raise TidemillError(
                "There is nothing to run: no task, no crontab, and action_concurrency is 0. "
                "Add a task with @app.task, or name a directory with --tasks."
            )
        async with self._app:
            database = await asyncio.to_thread(self._app.database)
            if options.migrate:
                await self._app.migrate()

            def open_connection() -> psycopg.Connection:
                return connect_patiently(database.for_application(self.id), options.lease)

            def revive() -> None:
                engine.revive()
                _call(loop, executor.give_back_waiting)

            executor = Executor(
                self._app.tasks,
                self._app,
                self.id,
                options.concurrency,
                self._hooks,
                lambda settlement: engine.settle(settlement),
            )
            heartbeat = Heartbeat(
                Registration(
                    self.id,
                    socket.gethostname(),
                    os.getpid(),
                    package_version("tidemill"),
                    options.concurrency,
                    list(self._app.tasks),
                    options.lease,
                ),
                connect=open_connection,
                interval=options.heartbeat_interval,
                in_hand=lambda: engine.jobs_in_hand,
                stopping=self._stop_asked.is_set,
                on_revival=revive,
                on_safety=lambda safe: engine.allow_express(safe),
                on_cancel=lambda ids: _call(loop, executor.cancel, ids),
                on_outdated=lambda error: _call(loop, self._on_outdated, error),
            )
            engine = Engine(
                worker_id=self.id,
                connect=open_connection,
                tasks=self._app.tasks,
                lane=options.lane,
                executor=executor,
                loop=loop,
                concurrency=options.concurrency,
                poll_interval=options.poll_interval,
                reconcile_interval=options.lease,
                forbidden_flags=self._forbidden_flags,
                listen=options.listen,
                once=options.once,
                on_end=self._on_engine_end,
            )
            actions = ActionService(
                self.id,
                options,
                self._app.tasks,
                connect=open_connection,
                conninfo=database.for_application(self.id),
            )
            listener = Listener(
                name=self.id,
                connect=open_connection,
                handlers={
                    "tidemill:jobs": lambda payload: _notify(engine, payload),
                    "tidemill:cancel": lambda payload: _call(
                        loop, executor.cancel, [int(part) for part in payload.split(",")]
                    ),
                    "tidemill:actions": lambda _: actions.notify(),
                },
                on_connect=lambda: _notify_all(engine, actions),
                ping_interval=options.heartbeat_interval,
            )
            try:
                await finish(asyncio.to_thread(self._register, database, heartbeat, actions))
                await self._work(engine, executor, heartbeat, listener, actions)
            finally:
                await finish(asyncio.to_thread(heartbeat.stop, self._patience))
        if self._engine_error is not None:
            with explained():
                raise self._engine_error

    def _register(self, database: Database, heartbeat: Heartbeat, actions: ActionService) -> None:
        if not self._options.migrate:
            with connect(database.conninfo) as connection:
                require_schema(connection)
        with explained():
            actions.declare(heartbeat.register())

    async def _work(
        self,
        engine: Engine,
        executor: Executor,
        heartbeat: Heartbeat,
        listener: Listener,
        actions: ActionService,
    ) -> None:
        options = self._options
        listens = options.listen and not options.once
        heartbeat.start()
        if listens:
            listener.start()
        self._hooks.call("worker_started", self.id)
        logger.info(
            "%s runs %s task(s), %s at once: %s",
            self.id,
            len(self._app.tasks),
            options.concurrency,
            ", ".join(sorted(self._app.tasks)),
        )
        try:
            if options.once:
                # Before the jobs, since it may add some.
                actions.start()
                await first(actions.wait_idle(), self._stop_asked.wait())
            engine.start()
            self.ready.set()
            if not options.once:
                actions.start()
            await first(self._stop_asked.wait(), self._engine_ended.wait())
        except asyncio.CancelledError:
            self.stop(hurry=True)
            raise
        finally:
            if not self.ready.is_set():
                # It never began, so it will not tell of its end.
                self._engine_ended.set()
            # However often we are cancelled, jobs in hand are settled and the threads end.
            leave = self._leave(engine, executor, listener if listens else None, actions)
            await finish(leave, on_cancel=lambda: self.stop(hurry=True))

    async def _leave(
        self,
        engine: Engine,
        executor: Executor,
        listener: Listener | None,
        actions: ActionService,
    ) -> None:
        await asyncio.gather(
            self._shut_down(engine, executor),
            actions.stop(self._options.grace_period, self._hurry_asked, self._patience),
        )
        if listener is not None:
            await asyncio.to_thread(listener.stop, self._patience)
        if self._options.once:
            await asyncio.to_thread(self._tell_what_is_left)
        self._hooks.call("worker_stopped", self.id)
        logger.info("%s has stopped", self.id)

    def _tell_what_is_left(self) -> None:
        """Logs the tasks of jobs that are ready and were not for us; a typo shows here."""
        with contextlib.suppress(TidemillError, psycopg.Error), self._app.sync.connection() as connection:
            rows = connection.execute(query("ready_identifiers")).fetchall()
            left = [identifier for (identifier,) in rows if identifier not in self._app.tasks]
            if left:
                logger.info("jobs of tasks that this worker does not know stay ready: %s", ", ".join(left))

    async def _shut_down(self, engine: Engine, executor: Executor) -> None:
        engine.drain()
        executor.stop()
        try:
            async with asyncio.timeout(self._options.grace_period):
                await first(executor.wait_idle(), self._hurry_asked.wait())
        except TimeoutError:
            logger.warning("the grace period is over")
        executor.abandon()
        try:
            async with asyncio.timeout(self._patience):
                await executor.wait_idle()
                await self._engine_ended.wait()
        except TimeoutError:
            left = engine.in_hand
            logger.error(
                "%s jobs could not be settled; they are free again when their lease ends, in %g s at most: "
                "%s%s",
                len(left),
                self._options.lease,
                ", ".join(map(str, left[:20])),
                ", ..." if len(left) > 20 else "",
            )
            engine.give_up()
        executor.close()

    def _forbidden_flags(self) -> Sequence[str]:
        flags = self._options.forbidden_flags
        return flags() if callable(flags) else flags

    def _on_engine_end(self, error: BaseException | None) -> None:
        self._engine_error = error
        self._engine_ended.set()

    def _on_outdated(self, error: TidemillError) -> None:
        logger.error("%s This worker stops.", error)
        self._outdated = error
        self.stop()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Calls a function on the loop, from another thread."""
    # A closed loop has no worker to tell.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def _notify_all(engine: Engine, actions: ActionService) -> None:
    engine.notify()
    actions.notify()


def _notify(engine: Engine, payload: str) -> None:
    """Passes on a notification: in how many milliseconds a job is due; its priority, run_at and id."""
    milliseconds, *place = map(int, payload.split() or ["0"])
    if place:
        priority, microseconds, job_id = place
        engine.notify(milliseconds, (priority, (_EPOCH + timedelta(microseconds=microseconds), job_id)))
    else:
        engine.notify(milliseconds)
