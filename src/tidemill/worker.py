"""The worker: ties the engine, the executor, the heartbeat and the listener together."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Any

import psycopg

from tidemill.database.connect import Database, connect
from tidemill.database.listen import Listener
from tidemill.database.migrate import require_schema
from tidemill.errors import TidemillError
from tidemill.heartbeat import Heartbeat, Registration
from tidemill.middleware import Hooks, LogJobs
from tidemill.queue.claim import LeaseLane
from tidemill.queue.engine import Engine
from tidemill.queue.execute import Executor

if TYPE_CHECKING:
    from tidemill.app import App

logger = logging.getLogger("tidemill")

_SETTLE_SECONDS = 15.0


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker works. Times are in seconds."""

    concurrency: int = 10
    """Jobs that run at once."""
    once: bool = False
    """Run until nothing is ready, then end."""
    poll_interval: float = 1.0
    """Longest time between two looks; jobs are also found by notification."""
    listen: bool = True
    """False: find jobs by polling alone, for connection poolers without LISTEN."""
    forbidden_flags: Sequence[str] | Callable[[], Sequence[str]] = ()
    """Jobs with one of these flags are left alone; a callable is asked before every claim."""
    grace_period: float = 25.0
    """How long running jobs may go on after a stop, before they are given back."""
    lease: float = 30.0
    """A worker that is silent for so long has lost its jobs."""
    heartbeat_interval: float = 5.0
    migrate: bool = True
    """Bring the schema to this version first; otherwise it must fit."""

    def __post_init__(self) -> None:
        for name in ("concurrency", "poll_interval", "lease", "heartbeat_interval"):
            if getattr(self, name) <= 0:
                raise TidemillError(f"{name} is {getattr(self, name)}; it must be more than 0.")
        if self.grace_period < 0:
            raise TidemillError(f"grace_period is {self.grace_period}; it must not be negative.")
        if self.heartbeat_interval * 2 > self.lease:
            raise TidemillError(
                f"heartbeat_interval is {self.heartbeat_interval} s and lease {self.lease} s: a lease must "
                "last at least two heartbeats, or one late beat would lose every job."
            )


class Worker:
    """Runs an app's tasks. One use: `run` once, `stop` from signals or other coroutines."""

    def __init__(self, app: App, options: WorkerOptions | None = None) -> None:
        self.id = f"worker-{secrets.token_hex(8)}"
        self._app = app
        self._options = options or WorkerOptions()
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
        try:
            await self._run()
        finally:
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
        if not self._app.tasks:
            raise TidemillError(
                "There is no task to run. Add one with @app.task, or name a directory with --tasks."
            )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._app)
            database = await asyncio.to_thread(self._app.database)
            if options.migrate:
                await self._app.migrate()

            def open_connection() -> psycopg.Connection:
                return connect(database.for_application(self.id))

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
                in_hand=lambda: engine.in_hand,
                stopping=self._stop_asked.is_set,
                on_cancel=lambda ids: _call(loop, executor.cancel, ids),
                on_outdated=lambda error: _call(loop, self._on_outdated, error),
            )
            task_ids = await asyncio.to_thread(self._register, database, heartbeat)
            executor = Executor(
                self._app,
                self.id,
                options.concurrency,
                self._hooks,
                lambda settlement: engine.settle(settlement),
            )
            engine = Engine(
                worker_id=self.id,
                connect=open_connection,
                lane=lambda connection: LeaseLane(self.id, task_ids, connection),
                executor=executor,
                loop=loop,
                concurrency=options.concurrency,
                poll_interval=options.poll_interval,
                forbidden_flags=self._forbidden_flags,
                listen=options.listen,
                once=options.once,
                on_end=self._on_engine_end,
            )
            listener = Listener(
                name=self.id,
                connect=open_connection,
                handlers={
                    "tidemill:jobs": lambda payload: engine.notify(int(payload)),
                    "tidemill:cancel": lambda payload: _call(
                        loop, executor.cancel, [int(part) for part in payload.split(",")]
                    ),
                },
                on_connect=engine.notify,
                ping_interval=options.heartbeat_interval,
            )
            await self._work(engine, executor, heartbeat, listener)
        if self._engine_error is not None:
            raise self._engine_error

    def _register(self, database: Database, heartbeat: Heartbeat) -> dict[str, int]:
        if not self._options.migrate:
            with connect(database.conninfo) as connection:
                require_schema(connection)
        return heartbeat.register()

    async def _work(
        self, engine: Engine, executor: Executor, heartbeat: Heartbeat, listener: Listener
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
        engine.start()
        self.ready.set()
        try:
            await _first(self._stop_asked.wait(), self._engine_ended.wait())
        finally:
            await asyncio.shield(asyncio.ensure_future(self._shut_down(engine, executor)))
            if listens:
                await asyncio.to_thread(listener.stop)
            await asyncio.to_thread(heartbeat.stop)
            self._hooks.call("worker_stopped", self.id)
            logger.info("%s has stopped", self.id)

    async def _shut_down(self, engine: Engine, executor: Executor) -> None:
        # Reached without a stop when the caller cancelled us: that is a hurry.
        if not self._stop_asked.is_set() and not self._engine_ended.is_set():
            self._hurry_asked.set()
        self._stop_asked.set()
        engine.drain()
        executor.stop()
        try:
            async with asyncio.timeout(self._options.grace_period):
                await _first(executor.wait_idle(), self._hurry_asked.wait())
        except TimeoutError:
            logger.warning("the grace period is over")
        executor.abandon()
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await executor.wait_idle()
                await self._engine_ended.wait()
        except TimeoutError:
            logger.error(
                "%s jobs could not be settled; they are free again when their lease ends, in %g s at most",
                engine.in_hand,
                self._options.lease,
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
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Returns as soon as one of the coroutines does."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
