"""Forked children: they never go on as a worker, and never use their parent's connections.

A child has copies of everything that its parent has in memory, and shares its sockets, its epoll
descriptors and the pipe that signals are written to. So one hook, armed when a worker starts or a
pool opens, does this in each child:

- The sockets of registered connections are cut, without a word to the server.
- Objects with pools or locks make new ones (`Renewable`).
- If a worker was running: signals are handled by default again, and the child may run no worker.
  It ends as soon as it comes back from the code that forked, instead of going on in the parent's
  event loop: see `end_child`, which the places that call users' code ask for, and `_watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from concurrent.futures.thread import _WorkItem
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, NoReturn, Protocol, TypeVar
from weakref import WeakSet

import psycopg

from tidemill.coroutines import driver_of_loop

Connection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
T = TypeVar("T", bound=Connection)


class Renewable(Protocol):
    """Has pools or locks that a forked child must not use."""

    def renew(self) -> None:
        """Makes new ones. Called in the child."""


@dataclass(frozen=True)
class _RunningWorker:
    loop: asyncio.AbstractEventLoop
    thread: int
    driver: CodeType
    """The code that runs the callbacks of the loop: it calls the coroutine that runs the worker."""


is_child = False
"""Whether this process was forked by one in which a worker was running."""

_armed = False
_connections: WeakSet[Connection] = WeakSet()
_opening: dict[object, int] = {}
"""The sockets of connections that are still being opened."""
_renewables: WeakSet[Renewable] = WeakSet()
_workers: list[_RunningWorker] = []
_guards: set[CodeType] = set()
_masks: dict[int, set[int | signal.Signals]] = {}


def kept_from_children(steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """Opens a connection that forked children must not use, from its first step on.

    A child with its socket would keep the session of a parent that dies.
    """
    _arm()
    key = object()
    try:
        wanted = next(steps)
        while True:
            _opening[key] = wanted[0]
            ready = yield wanted
            wanted = steps.send(ready)
    except StopIteration as end:
        connection: T = end.value
        # Before its socket is forgotten below.
        _connections.add(connection)
        return connection
    finally:
        _opening.pop(key, None)


def renew_in_children(renewable: Renewable) -> None:
    """Registers an object that forked children must renew."""
    _arm()
    _renewables.add(renewable)


def ends_children(code: CodeType) -> None:
    """Registers the code of a function that calls users' code, and then `end_child` in a child."""
    _guards.add(code)


@contextlib.contextmanager
def worker_running() -> Iterator[None]:
    """Children that are forked inside the block are no workers. Belongs to a coroutine."""
    _arm()
    worker = _RunningWorker(asyncio.get_running_loop(), threading.get_ident(), driver_of_loop())
    _workers.append(worker)
    try:
        yield
    finally:
        _workers.remove(worker)


def end_child(error: BaseException | None = None) -> NoReturn:
    """Ends a forked child that has come back to code of its parent's, as `sys.exit` would.

    `error` is what it came back with, if not the exception that is being raised.
    """
    error = error or sys.exc_info()[1]
    code: Any = 0
    match error:
        case SystemExit(code=None):
            pass
        case SystemExit(code=int(number)):
            code = number
        case SystemExit(code=words):
            print(words, file=sys.stderr)
            code = 1
        case BaseException():
            traceback.print_exception(error)
            code = 1
    print(
        f"tidemill: process {os.getpid()} was forked by a task, has come back from it, and ends here "
        f"with exit code {code & 255}: only the parent goes on as a worker.",
        file=sys.stderr,
    )
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # Without exit handlers, which belong to the parent.
    os._exit(code & 255)


def _arm() -> None:
    global _armed
    if not _armed and hasattr(os, "register_at_fork"):
        _armed = True
        os.register_at_fork(before=_before, after_in_parent=_unblock, after_in_child=_in_child)


def _before() -> None:
    if _workers:
        # A signal to a child whose handlers are still the parent's would reach the parent.
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def _unblock() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    global is_child
    _cut_connections()
    for renewable in list(_renewables):
        renewable.renew()
    if _workers:
        is_child = True
        workers = _workers.copy()
        _workers.clear()
        for worker in workers:
            _reset_signals(worker.loop)
            if worker.thread == threading.get_ident():
                _watch(worker.driver)
        # Threads of an executor, as of asyncio.to_thread, wait for more work for ever.
        _watch(_WorkItem.run.__code__)
    _unblock()


def _cut_connections() -> None:
    """Puts sockets whose other end is closed in the place of the parent's."""
    here, there = socket.socketpair()
    there.close()
    sockets = list(_opening.values())
    for connection in list(_connections):
        # Closed connections have no socket.
        with contextlib.suppress(psycopg.Error):
            sockets.append(connection.fileno())
    for descriptor in sockets:
        # What libpq has just closed may be another's file by now.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.dup2(here.fileno(), descriptor, inheritable=False)
    here.close()
    _connections.clear()
    _opening.clear()


def _reset_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Signals have their default effect again, since nothing runs the loop that would handle them."""
    for signum in signal.valid_signals():
        with contextlib.suppress(ValueError, RuntimeError):
            loop.remove_signal_handler(signum)
    signal.set_wakeup_fd(-1)


def _watch(driver: CodeType) -> None:
    """Has the child end when it comes back to the driver: from a callback, an asyncio task, a call."""
    outermost: FrameType | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not driver:
        # Children of multiprocessing end by themselves, and would become slower under a trace.
        if frame.f_code in _guards or frame.f_globals.get("__name__") == "multiprocessing.popen_fork":
            return
        outermost, frame = frame, frame.f_back
    if frame is None or outermost is None:
        return
    error: BaseException | None = None

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal error
        if event == "return":
            end_child(error)
        error = arg[1] if event == "exception" else None
        return trace

    outermost.f_trace = trace
    sys.settrace(lambda frame, event, arg: None)
