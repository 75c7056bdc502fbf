"""A worker's part in actions: the scheduler, the crontab's clock, the schedules of tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg

from tidemill.actions.backends import Backends
from tidemill.actions.declared import declare_schedules
from tidemill.actions.scheduler import Scheduler
from tidemill.coroutines import first
from tidemill.tasks import Task
from tidemill.worker_options import WorkerOptions

if TYPE_CHECKING:
    from tidemill.actions.crontab_clock import CrontabClock


class ActionService:
    """Ties them to one worker. All methods but `declare` and `notify` belong to its event loop.

    Raises CrontabError for a crontab that cannot be read.
    """

    def __init__(
        self,
        worker_id: str,
        options: WorkerOptions,
        tasks: Mapping[str, Task[Any]],
        *,
        connect: Callable[[], psycopg.Connection],
        conninfo: str,
        may_start: Callable[[], bool],
    ) -> None:
        self._tasks = tasks
        self._crontab = None if options.once else _crontab_clock(options, tasks, connect)
        self._scheduler: Scheduler | None = None
        self._ended = asyncio.Event()
        if not options.action_concurrency:
            return
        loop = asyncio.get_running_loop()

        def on_end() -> None:
            # If the loop is closed, no worker is waiting.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ended.set)

        self._scheduler = Scheduler(
            worker_id=worker_id,
            connect=connect,
            backends=Backends(conninfo, patience=options.lease),
            concurrency=options.action_concurrency,
            may_start=may_start,
            poll_interval=options.poll_interval,
            once=options.once,
            on_end=on_end,
        )

    def declare(self, connection: psycopg.Connection) -> None:
        """Brings the actions that tasks declare in line with the code. Blocks.

        Raises TaskLoadError for a schedule that is refused, and psycopg.Error.
        """
        declare_schedules(connection, self._tasks)

    def start(self) -> None:
        """Starts the scheduler and the crontab's clock."""
        if self._scheduler is not None:
            self._scheduler.start()
        if self._crontab is not None:
            self._crontab.start()

    def notify(self) -> None:
        """Has the scheduler look now. Thread-safe."""
        if self._scheduler is not None:
            self._scheduler.notify()

    async def wait_idle(self) -> None:
        """With `once`: returns when no action is due or running."""
        if self._scheduler is not None:
            await asyncio.to_thread(self._scheduler.wait_idle)

    async def stop(self, grace_period: float, hurry: asyncio.Event, patience: float) -> None:
        """Lets runs end within the grace period or until `hurry`, then cancels the others."""
        if self._crontab is not None:
            await asyncio.to_thread(self._crontab.stop, patience)
        if self._scheduler is None or not self._scheduler.is_alive:
            return
        self._scheduler.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_period):
                await first(self._ended.wait(), hurry.wait())
        await asyncio.to_thread(self._scheduler.stop, patience)


def _crontab_clock(
    options: WorkerOptions, tasks: Mapping[str, Task[Any]], connect: Callable[[], psycopg.Connection]
) -> CrontabClock | None:
    if options.crontab is None:
        return None
    # Few workers have a crontab, and without the import the others start faster.
    from tidemill.actions.crontab import read_crontab
    from tidemill.actions.crontab_clock import CrontabClock

    items = read_crontab(options.crontab)
    return CrontabClock(items, connect=connect, tasks=tasks) if items else None
