"""The parts of a worker, in its threads and on its event loop, and how they are connected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any, Protocol

import psycopg

from tidemill.actions.service import ActionService
from tidemill.database.find import Database
from tidemill.database.listen import Listener
from tidemill.database.patient import PatientConnection, connect_patiently
from tidemill.errors import TidemillError
from tidemill.history.counters import Counters
from tidemill.history.progress import ProgressBoard
from tidemill.keeps import NONE, read_keep
from tidemill.middleware import Hooks, Middleware
from tidemill.producers import Producer
from tidemill.queue.declarations import Declarations
from tidemill.queue.done_log import DoneLog
from tidemill.queue.durations import Durations
from tidemill.queue.engine import Engine
from tidemill.queue.execute import Executor
from tidemill.queue.express import ExpressLane
from tidemill.queue.heartbeat import Heartbeat, Registration
from tidemill.queue.lanes import Lanes
from tidemill.queue.lease import LeaseLane
from tidemill.queue.looks import read_notification
from tidemill.queue.loop_watch import LoopWatch
from tidemill.queue.own_lease import OwnLease
from tidemill.queue.record import Keeper
from tidemill.queue.starts import Starts
from tidemill.queue.sweep import Sweep
from tidemill.tallies import Tallies
from tidemill.tasks import Task
from tidemill.worker_options import WorkerOptions, checked_flags

# A busy server is slow, too.
_LEAST_PATIENCE = 5.0


class Host(Producer, Protocol):
    """What a worker needs from its app. An `App` is one."""

    @property
    def tasks(self) -> Mapping[str, Task[Any]]:
        """The tasks to run."""

    @property
    def middleware(self) -> Sequence[Middleware]:
        """Called around every job."""

    def database(self) -> Database:
        """See `App.database`."""

    def _fit_pools(self, name: str, size: int, sync_size: int, *, at_most: bool) -> None:
        """See `App._fit_pools`."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc: object) -> None: ...


@dataclass(frozen=True)
class Parts:
    """The parts of one worker, not started yet."""

    executor: Executor
    lanes: Lanes
    engine: Engine
    actions: ActionService
    heartbeat: Heartbeat
    listener: Listener | None
    watch: LoopWatch
    declarations: Declarations
    board: ProgressBoard
    own_lease: OwnLease

    def start_nothing_more(self) -> None:
        """Claims and starts no further jobs. Must be called on the worker's event loop."""
        self.engine.drain()
        self.executor.stop()


def assemble(
    worker_id: str,
    host: Host,
    options: WorkerOptions,
    hooks: Hooks,
    database: Database,
    *,
    stopping: Callable[[], bool],
    on_end: Callable[[BaseException | None], None],
    on_stop: Callable[[str], None],
    on_outdated: Callable[[TidemillError], None],
) -> Parts:
    """Makes the parts, each from those made before it. Call this on the worker's event loop.

    `stopping` says whether the worker is stopping. On the loop, `on_end` is called when the
    engine has ended, `on_stop` when somebody asks the worker to stop (who and why), `on_outdated` when
    a newer schema no longer fits this version.

    Raises CrontabError for a crontab that cannot be read.
    """
    loop = asyncio.get_running_loop()
    conninfo = database.for_application(worker_id)
    identifiers = list(host.tasks)

    def open_connection() -> PatientConnection:
        return connect_patiently(conninfo, options.lease)

    # One that waited for its answer as long as the others would lose the lease with it, or hold up all jobs.
    short_patience = min(options.lease, max(options.lease / 3, _LEAST_PATIENCE))

    def forbidden_flags() -> Sequence[str]:
        flags = options.forbidden_flags
        return checked_flags(flags()) if callable(flags) else flags

    wake = threading.Event()

    def wake_engine() -> None:
        # Each job that ends calls this, and to set an event takes long.
        if not wake.is_set():
            wake.set()

    own_lease = OwnLease(options.lease)
    keeper = Keeper(host.tasks, NONE if options.keep is None else read_keep(options.keep))
    durations, tallies = Durations(), Tallies()
    leases = LeaseLane(
        worker_id,
        identifiers,
        concurrency=options.concurrency,
        durations=durations,
        wake=wake_engine,
        poll_interval=options.poll_interval,
    )
    leases.limited.use(any(task.limit is not None for task in host.tasks.values()))
    express = ExpressLane(
        worker_id,
        identifiers,
        concurrency=options.concurrency,
        connect=open_connection,
        leases=leases,
        lease=options.lease,
        wake=wake_engine,
    )
    board = ProgressBoard(connect=open_connection, is_leased=leases.has_in_hand)
    executor = Executor(
        host.tasks,
        host,
        worker_id,
        concurrency=options.concurrency,
        hooks=hooks,
        settle=leases.settle,
        starts=Starts(worker_id, open_connection, short_patience),
        durations=durations,
        done_log=DoneLog(each=options.log_jobs),
        keeper=keeper,
        tallies=tallies,
        board=board,
    )
    lanes = Lanes(host.tasks, options.lane, leases=leases, express=express, executor=executor)
    engine = Engine(
        worker_id=worker_id,
        connect=open_connection,
        lanes=lanes,
        executor=executor,
        own_lease=own_lease,
        sweep=Sweep(
            own_lease,
            interval=options.heartbeat_interval,
            on_safety=lanes.allow_express,
            on_limits=leases.limited.use,
        ),
        loop=loop,
        wake=wake,
        poll_interval=options.poll_interval,
        reconcile_interval=options.lease,
        forbidden_flags=forbidden_flags,
        listen=options.listen,
        once=options.once,
        on_end=on_end,
    )
    actions = ActionService(
        worker_id,
        options,
        host.tasks,
        connect=open_connection,
        conninfo=conninfo,
        may_start=lambda: not own_lease.term.is_over,
    )

    declarations = Declarations(host.tasks, keeper, engine.hold_back)

    def on_term() -> None:
        engine.revive()
        _call(loop, executor.check_term)

    heartbeat = Heartbeat(
        _registration(worker_id, options, identifiers),
        own_lease=own_lease,
        reports=Counters(tallies),
        go_on=declarations.go_on,
        connect=lambda: connect_patiently(conninfo, short_patience),
        interval=options.heartbeat_interval,
        in_hand=lambda: lanes.in_hand,
        stopping=stopping,
        on_term=on_term,
        on_cancel=lambda reasons: _call(loop, executor.cancel, reasons),
        on_stop=lambda asked: _call(loop, on_stop, asked),
        on_outdated=lambda error: _call(loop, on_outdated, error),
    )

    listener = None
    if options.listen and not options.once:
        listener = _listener(worker_id, options, open_connection, engine, heartbeat, actions)
    watch = LoopWatch(executor.runners)
    return Parts(executor, lanes, engine, actions, heartbeat, listener, watch, declarations, board, own_lease)


def _registration(worker_id: str, options: WorkerOptions, identifiers: Sequence[str]) -> Registration:
    return Registration(
        worker_id,
        socket.gethostname(),
        os.getpid(),
        package_version("tidemill"),
        options.concurrency,
        identifiers,
        options.lease,
    )


def _listener(
    worker_id: str,
    options: WorkerOptions,
    connect: Callable[[], psycopg.Connection],
    engine: Engine,
    heartbeat: Heartbeat,
    actions: ActionService,
) -> Listener:
    # Anybody may notify. So a notification only makes the worker look: what is true is in the tables.
    def look_everywhere() -> None:
        engine.notify()
        heartbeat.look()
        actions.notify()

    return Listener(
        name=worker_id,
        connect=connect,
        readers={
            "tidemill:jobs": lambda payload: engine.notify(*read_notification(payload)),
            "tidemill:limits": engine.notify_limited,
        },
        lookers={"tidemill:cancel": heartbeat.look, "tidemill:actions": actions.notify},
        on_connect=look_everywhere,
        ping_interval=options.heartbeat_interval,
    )


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Calls a function on the loop, from another thread."""
    # If the loop is closed, no worker is waiting.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)
