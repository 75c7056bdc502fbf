"""Threads for plain functions. They are daemons, so a function that hangs cannot keep the process alive."""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from tidemill import forks

_Item = tuple[contextvars.Context, Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]"]


class Threads:
    """Runs functions in threads that are made when needed and kept. Belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._busy = 0
        self._threads = 0

    def run(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Starts a function; the future has its result or its exception."""
        if forks.is_child:
            forks.end_child()
        future: asyncio.Future[Any] = self._loop.create_future()
        # Ignore errors raised after the attempt was abandoned: asyncio would log them.
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self._busy += 1
        self._items.put((contextvars.copy_context(), function, args, future))
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._work, name="tidemill-task", daemon=True).start()
        return future

    def close(self) -> None:
        """Ends the threads once they are idle; does not wait."""
        for _ in range(self._threads):
            self._items.put(None)

    def _work(self) -> None:
        process = os.getpid()
        while (item := self._items.get()) is not None:
            context, function, args, future = item
            result: Any = None
            error: BaseException | None = None
            try:
                result = context.run(function, *args)
            except BaseException as raised:
                error = raised
            if os.getpid() != process:
                # This is a child that the task forked: it must not become a second worker.
                forks.end_child(error)
            try:
                self._loop.call_soon_threadsafe(self._finish, future, result, error)
            except RuntimeError:
                return  # The loop is closed: the worker did not wait for us.
            # An idle thread must not keep a payload alive.
            del item, context, function, args, future, result, error

    def _finish(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if future.done():
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):
            # A future does not accept StopIteration.
            future.set_exception(RuntimeError("the task raised StopIteration"))
        else:
            future.set_exception(error)
