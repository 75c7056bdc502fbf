"""The worker: starts its parts, waits, and stops them so that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg

from tidemill import forks
from tidemill.budget import pool_sizes
from tidemill.coroutines import finish, first, in_daemon_thread
from tidemill.database.connect import connect, explained
from tidemill.database.find import Database, refuse_in_tests
from tidemill.database.migrate import may_run_actions, migrate, require_schema
from tidemill.database.patient import connect_patiently
from tidemill.database.sql import query
from tidemill.database.words import words
from tidemill.errors import MissingRightsError, TidemillError
from tidemill.measures import measure
from tidemill.middleware import Hooks, LogFailures
from tidemill.parts import Host, Parts, assemble
from tidemill.queue.publish import publish
from tidemill.worker_options import SAME_SIGNAL_SECONDS, WorkerOptions, checked_options, without_actions

if TYPE_CHECKING:
    from tidemill.metrics.from_database import DatabaseFigures
    from tidemill.metrics.server import MetricsService
    from tidemill.metrics.share import Share

logger = logging.getLogger("tidemill")

__all__ = ["Worker", "WorkerOptions"]

_LONGEST_PATIENCE = 15.0
_METRICS_PATIENCE = 5.0
_SWITCH_SECONDS = 0.0005


class Worker:
    """Runs an app's tasks. Call `run` once; signals or other coroutines call `stop`."""

    def __init__(self, app: Host, options: WorkerOptions | None = None) -> None:
        self.id = f"worker-{secrets.token_hex(8)}"
        self._app = app
        self._options = checked_options(options) or WorkerOptions()
        # After a lease's time other workers have the jobs: then stop waiting for the database.
        self._patience = min(_LONGEST_PATIENCE, self._options.lease)
        self._hooks = Hooks([LogFailures(), *app.middleware])
        self._stop_asked = asyncio.Event()
        self._hurry_asked = asyncio.Event()
        self._first_signal: tuple[signal.Signals, float] | None = None
        self._engine_ended = asyncio.Event()
        self._engine_error: BaseException | None = None
        self._outdated: TidemillError | None = None
        self._parts: Parts | None = None
        self._share: Share | None = None
        """Where its figures are read; None: where `WorkerOptions.metrics` says."""
        self._figures: DatabaseFigures | None = None
        self._is_owner = True
        self.ready = asyncio.Event()
        """Set once the worker claims jobs."""
        self.was_asked_to_stop = False
        """Whether somebody has asked for its stop by `tidemill.stop_worker`."""

    def stop(self, *, hurry: bool = False) -> None:
        """Stops: claims no more, lets jobs finish within the grace period, gives the rest back.

        A second call, or `hurry`, gives them back at once. Call it on the worker's event loop.
        """
        if hurry or self._stop_asked.is_set():
            self._hurry_asked.set()
        self._stop_asked.set()
        if self._parts is not None:
            self._parts.start_nothing_more()

    async def run(self, *, handle_signals: bool = False) -> None:
        """Runs until stopped or, with `once`, until nothing is ready.

        With `handle_signals` SIGTERM and SIGINT stop it, a second one in a hurry. The same signal
        within a second counts as one.

        Raises TidemillError when it cannot start (under pytest also if nobody has named the
        database), or when a newer schema no longer fits.
        """
        if forks.is_child:
            raise TidemillError(
                f"Process {os.getpid()} was forked by a worker and has a copy of its memory: it cannot be "
                "a worker, too. Start one as a program of its own (`tidemill worker`), or in a process that "
                "multiprocessing makes with the method 'spawn'."
            )
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT) if handle_signals else ()
        for signum in handled:
            loop.add_signal_handler(signum, self._on_signal, signum)
        # The engine's thread takes the interpreter's lock a dozen times for a claim. While jobs
        # compute, it waits up to this interval each time, which is 5 ms by default.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
        try:
            metrics = self._metrics()
            try:
                with forks.worker_running():
                    if metrics is not None:
                        metrics.start()
                    await self._run()
            finally:
                if metrics is not None:
                    await finish(asyncio.to_thread(metrics.stop, self._patience))
                if self._figures is not None:
                    await finish(asyncio.to_thread(self._figures.close))
        except (TidemillError, psycopg.Error) as error:
            if self.ready.is_set() or not self._stop_asked.is_set():
                raise
            # It was to stop before it began, so it does not matter that it could not begin.
            logger.info("stopped before it began: %s", words(error))
        finally:
            sys.setswitchinterval(interval)
            for signum in handled:
                loop.remove_signal_handler(signum)
        if self._outdated is not None:
            raise self._outdated

    def _share_metrics(self, share: Share) -> None:
        """Has its figures read at an address that is taken already, perhaps with those of other processes."""
        self._share = share

    def _metrics(self) -> MetricsService | None:
        """What serves its figures. Raises TidemillError if their address is not to be had."""
        if self._share is None and self._options.metrics is None:
            return None
        # Workers that serve none start faster without it.
        from tidemill.metrics.server import MetricsService
        from tidemill.metrics.share import open_share

        if self._share is None and self._options.metrics is not None:
            self._share = open_share(self._options.metrics)
        assert self._share is not None
        if self._share.listening is not None:
            host, port = self._share.listening.getsockname()[:2]
            logger.info("metrics are at http://%s:%s/metrics", f"[{host}]" if ":" in host else host, port)
        return MetricsService(self._share, measure=self._measure, database=self._database_figures())

    def _measure(self) -> dict[str, Any]:
        return measure(
            self._parts,
            concurrency=self._options.concurrency,
            stopping=self._stop_asked.is_set() or self._engine_ended.is_set(),
        )

    def _database_figures(self) -> DatabaseFigures:
        """One for all who read them."""
        from tidemill.metrics.from_database import DatabaseFigures

        if self._figures is None:
            self._figures = DatabaseFigures(
                lambda: connect_patiently(
                    self._app.database().for_application(self.id), min(self._patience, _METRICS_PATIENCE)
                )
            )
        return self._figures

    def _on_signal(self, signum: signal.Signals) -> None:
        now = time.monotonic()
        if self._first_signal is None:
            self._first_signal = (signum, now)
        elif signum == self._first_signal[0] and now < self._first_signal[1] + SAME_SIGNAL_SECONDS:
            return
        again = self._stop_asked.is_set()
        self.stop()
        if again:
            logger.info("%s again: running jobs are given back now", signum.name)
        else:
            logger.info(
                "%s: no new jobs; waiting up to %g s for running ones (again to hurry)",
                signum.name,
                self._options.grace_period,
            )

    async def _run(self) -> None:
        options = self._options
        if not (self._app.tasks or options.action_concurrency or options.crontab):
            raise TidemillError(
                "There is nothing to run: no task, no crontab, and action_concurrency is 0. "
                "Add a task with @app.task, or name a directory with --tasks."
            )
        sizes = pool_sizes(options, self._app.tasks.values(), measured=self._hooks.are_measuring)
        self._app._fit_pools(self.id, *sizes, at_most=options.max_connections is not None)
        async with self._app:
            database = await asyncio.to_thread(self._app.database)
            refuse_in_tests(database)
            if options.migrate:
                await self._migrate(database)
            if self._stop_asked.is_set():
                logger.info("stopped before it began")
                return

            if not options.migrate:
                await finish(asyncio.to_thread(self._look_at_schema, database))
            if not self._is_owner:
                options = self._options = without_actions(options, self._app.tasks)
            parts = self._parts = assemble(
                self.id,
                self._app,
                options,
                self._hooks,
                database,
                stopping=self._stop_asked.is_set,
                on_end=self._on_engine_end,
                on_stop=self._on_stop_asked,
                on_outdated=self._on_outdated,
            )
            try:
                await finish(asyncio.to_thread(self._register, parts))
                await self._work(parts)
            finally:
                await finish(asyncio.to_thread(parts.heartbeat.stop, self._patience))
        if self._engine_error is not None:
            with explained():
                raise self._engine_error

    async def _migrate(self, database: Database) -> None:
        """Migrates; a stop does not wait for it, since it may wait for a lock for long.

        What it has done until then is rolled back when the process ends; if that lives on, it is completed.
        """
        migrating = in_daemon_thread(lambda: migrate(database.conninfo))
        try:
            await first(asyncio.wait([migrating]), self._stop_asked.wait())
        finally:
            migrating.cancel()
        if not self._stop_asked.is_set():
            try:
                self._is_owner = migrating.result().has_owners_rights
            except MissingRightsError as error:
                raise MissingRightsError(
                    f"{error} A worker that has only the role worker is started with --no-migrate "
                    "(WorkerOptions(migrate=False))."
                ) from error

    def _look_at_schema(self, database: Database) -> None:
        with explained(), connect(database.conninfo) as connection:
            require_schema(connection)
            self._is_owner = may_run_actions(connection)

    def _register(self, parts: Parts) -> None:
        with explained():
            connection = parts.heartbeat.register()
            parts.lanes.leases.open_keeps.update(parts.declarations.begin(connection))
            if self._is_owner:
                parts.actions.declare(connection)
        publish(connection, self._app.tasks)

    async def _work(self, parts: Parts) -> None:
        options = self._options
        parts.heartbeat.start()
        parts.watch.start()
        if any(task.takes_job for task in self._app.tasks.values()):
            # Others cannot tell of their progress.
            parts.board.start()
        if parts.listener is not None:
            parts.listener.start()
        if self._hooks.are_measuring:
            self._hooks.call("_worker_measured", self.id, self._measure, self._database_figures().get)
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
                # Actions come before the jobs, since they may add some.
                parts.actions.start()
                await first(parts.actions.wait_idle(), self._stop_asked.wait())
            parts.engine.start()
            self.ready.set()
            if not options.once:
                parts.actions.start()
            await first(self._stop_asked.wait(), self._engine_ended.wait())
        except asyncio.CancelledError:
            self.stop(hurry=True)
            raise
        finally:
            if not self.ready.is_set():
                # The engine never began, so it will not report its end.
                self._engine_ended.set()
            # Even if we are cancelled again, the jobs in hand are settled, and the threads end.
            await finish(self._leave(parts), on_cancel=lambda: self.stop(hurry=True))

    async def _leave(self, parts: Parts) -> None:
        await asyncio.gather(
            self._shut_down(parts),
            parts.actions.stop(self._options.grace_period, self._hurry_asked, self._patience),
        )
        if parts.listener is not None:
            await asyncio.to_thread(parts.listener.stop, self._patience)
        await asyncio.to_thread(parts.board.stop, self._patience)
        if self._options.once:
            await asyncio.to_thread(self._tell_what_is_left)
        parts.watch.stop()
        self._hooks.call("worker_stopped", self.id)
        logger.info("%s has stopped", self.id)

    def _tell_what_is_left(self) -> None:
        """Logs the tasks of ready jobs that it does not know, which shows typos, or that are paused."""
        with (
            contextlib.suppress(TidemillError, psycopg.Error),
            connect_patiently(self._app.database().conninfo, self._patience) as connection,
        ):
            rows = connection.execute(query("ready_identifiers")).fetchall()
            left = [identifier for identifier, _ in rows if identifier not in self._app.tasks]
            if left:
                logger.info("jobs of tasks that this worker does not know stay ready: %s", ", ".join(left))
            paused = [identifier for identifier, is_paused in rows if is_paused]
            if paused:
                logger.info("paused jobs stay ready (see tidemill pauses): %s", ", ".join(paused))

    async def _shut_down(self, parts: Parts) -> None:
        engine, executor = parts.engine, parts.executor
        parts.start_nothing_more()
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
            left = parts.lanes.leases.ids_in_hand
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

    def _on_engine_end(self, error: BaseException | None) -> None:
        self._engine_error = error
        self._engine_ended.set()

    def _on_stop_asked(self, asked: str) -> None:
        self.was_asked_to_stop = True
        if self._stop_asked.is_set():
            # Another stop would hurry the one that goes on.
            return
        logger.info(
            "asked to stop by %s: no new jobs; waiting up to %g s for running ones",
            asked,
            self._options.grace_period,
        )
        self.stop()

    def _on_outdated(self, error: TidemillError) -> None:
        logger.error("%s This worker stops.", error)
        self._outdated = error
        self.stop()
