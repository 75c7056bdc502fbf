"""Several worker processes below one supervisor, which has neither a thread nor a connection."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tidemill.cli import early_stop

logger = logging.getLogger("tidemill")

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_HANDLED = (*_STOPPING, signal.SIGCHLD)
_READY = b"r"
_LEAVES = b"l"
# A process that ends again and again is started at growing intervals.
_LEAST_PAUSE = 1.0
_MOST_PAUSE = 60.0
# One that has run for so long ended for another reason than the last one did.
_STEADY_SECONDS = 60.0
_MOST_FAILED_STARTS = 5
_RELOAD_SECONDS = 0.5
_NEVER = float("inf")


@dataclass(frozen=True)
class Place:
    """Which of the processes this is, and its connection to the supervisor."""

    number: int
    supervisor: socket.socket
    comes_later: bool = False
    """Whether one of the processes was ready before this one began."""

    def tell_ready(self) -> None:
        """Tells that this process has begun its work: from now on it is worth a new one."""
        self._tell(_READY)

    def tell_leaving(self) -> None:
        """Tells that somebody has asked for the end of this process: it is not to be replaced."""
        self._tell(_LEAVES)

    def _tell(self, what: bytes) -> None:
        try:
            self.supervisor.send(what)
        except OSError:
            # The supervisor is gone; its end of the connection tells so, too.
            return


@dataclass
class _Child:
    number: int
    line: socket.socket
    since: float
    start: _Start


@dataclass(frozen=True)
class _Start:
    """When to start a process, and what became of those with its number before."""

    at: float = 0.0
    pause: float = 0.0
    """How long it was waited for."""
    failed: int = 0
    """How many in a row ended before they were ready."""


def supervise(count: int, *, once: bool = False, changed: Callable[[], str | None] | None = None) -> Place:
    """Forks so many processes, and returns in each of them; the supervisor itself ends with their exit code.

    Call it before anything has a thread or a connection. SIGTERM and SIGINT are passed on. A process that
    ends otherwise is replaced, but with `once`, and unless somebody asked for its end. If one fails before
    any was ready, or again and again while no other is, all end.

    changed  is asked twice a second for a file that has changed: if there is one, all are replaced; failures
             are waited out
    """
    return _Supervisor(count, once, changed).run()


class _Supervisor:
    def __init__(self, count: int, once: bool, changed: Callable[[], str | None] | None) -> None:
        self._once = once
        self._changed = changed
        self._children: dict[int, _Child] = {}
        self._due = {number: _Start() for number in range(1, count + 1)}
        self._stopping = False
        self._replacing: set[int] = set()
        """Processes that were asked to end for a new one."""
        self._was_ready = False
        self._code = 0
        self._news, self._wakeup = socket.socketpair()

    def run(self) -> Place:
        for end in (self._news, self._wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._handlers = {signum: signal.signal(signum, _note) for signum in _HANDLED}
        logger.info("process %s starts %s", os.getpid(), _workers(len(self._due)))
        while self._children or self._due:
            place = self._start_due()
            if place is not None:
                return place
            for signum in self._wait():
                if signum in _STOPPING:
                    self._stop(signum)
            self._reap()
            if self._changed is not None and not self._stopping and (file := self._changed()) is not None:
                logger.info("%s has changed: all start anew", file)
                self._replace()
        early_stop.ignore()
        sys.exit(self._code if self._code >= 0 else 128 - self._code)

    def _start_due(self) -> Place | None:
        """Starts what is due; returns in each new process."""
        now = time.monotonic()
        for number, start in list(self._due.items()):
            if start.at <= now:
                del self._due[number]
                try:
                    place = self._fork(number, start)
                except OSError as error:
                    # No more processes or files just now: those that run are worth more than this one.
                    if not self._children:
                        raise
                    logger.error("process %s cannot be started: %s", number, error.strerror)
                    pause = _longer(start.pause)
                    self._due[number] = replace(start, at=now + pause, pause=pause)
                    continue
                if place is not None:
                    return place
        return None

    def _fork(self, number: int, start: _Start) -> Place | None:
        # What is not written yet, the child would write, too.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        ours, theirs = socket.socketpair()
        # A signal to a child that still has our handlers would be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._leave(ours)
                return Place(number, theirs, self._was_ready)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        ours.setblocking(False)
        logger.info("[%s] is process %s", number, pid)
        self._children[pid] = _Child(number, ours, time.monotonic(), start)
        return None

    def _leave(self, ours: socket.socket) -> None:
        """In a new process: gives up what belongs to the supervisor."""
        signal.set_wakeup_fd(-1)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        for end in (ours, self._news, self._wakeup, *(child.line for child in self._children.values())):
            end.close()

    def _wait(self) -> Iterator[int]:
        """Waits for a signal, or until something is due; returns the signals that came."""
        waits = [start.at - time.monotonic() for start in self._due.values() if start.at < _NEVER]
        if self._changed is not None:
            waits.append(_RELOAD_SECONDS)
        select.select([self._news], [], [], max(0.0, min(waits)) if waits else None)
        try:
            yield from self._news.recv(4096)
        except BlockingIOError:
            return

    def _stop(self, signum: int) -> None:
        self._stopping = True
        self._due.clear()
        for pid in self._children:
            # Its number is its own until we have waited for it.
            os.kill(pid, signum)

    def _replace(self) -> None:
        self._due = {number: _Start() for number in self._due}
        # A second signal would hurry those that are about to end.
        for pid in self._children.keys() - self._replacing:
            os.kill(pid, signal.SIGTERM)
            self._replacing.add(pid)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._ended(pid, child, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, child: _Child, code: int) -> None:
        was_ready, others_are = _has_told(child), any(map(_has_told, self._children.values()))
        leaves = _LEAVES in _words(child)
        self._was_ready = self._was_ready or was_ready or others_are
        child.line.close()
        if self._stopping or self._once:
            self._code = self._code or code
            return
        if pid in self._replacing:
            self._replacing.discard(pid)
            self._due[child.number] = _Start()
            return
        if leaves:
            logger.info("process %s (%s) was asked to stop, and is not replaced", child.number, pid)
            return
        how = f"was ended by {_name(-code)}" if code < 0 else f"ended with exit code {code}"
        # Also with exit code 0: a module that ends the process would do so for ever.
        failed = 0 if was_ready else child.start.failed + 1
        if failed and self._changed is not None:
            logger.error("process %s (%s) %s; it starts again when a file changes", child.number, pid, how)
            self._due[child.number] = _Start(_NEVER)
        elif not others_are and (
            failed >= _MOST_FAILED_STARTS or (failed and code > 0 and not self._was_ready)
        ):
            # While others work, it may be an outage that they ride out.
            logger.error("process %s (%s) %s before it was ready: all end", child.number, pid, how)
            self._code = code or 1
            self._stop(signal.SIGTERM)
        else:
            now = time.monotonic()
            pause = _longer(0.0 if now - child.since >= _STEADY_SECONDS else child.start.pause)
            logger.error("process %s (%s) %s; another one starts in %g s", child.number, pid, how, pause)
            self._due[child.number] = _Start(now + pause, pause, failed)


def _note(signum: int, frame: object) -> None:
    """A handler has to be there, so that the signal is written to the wakeup socket."""


def _has_told(child: _Child) -> bool:
    """Whether a process has told that it is ready."""
    return _READY in _words(child)


def _words(child: _Child) -> bytes:
    """What a process has told until now."""
    try:
        return child.line.recv(16, socket.MSG_PEEK)
    except (BlockingIOError, ConnectionResetError):
        return b""


def _longer(pause: float) -> float:
    return min(max(2 * pause, _LEAST_PAUSE), _MOST_PAUSE)


def _workers(count: int) -> str:
    return "a worker process" if count == 1 else f"{count} worker processes"


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        # Most real-time signals have no name.
        return f"signal {signum}"
