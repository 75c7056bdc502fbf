"""Waiting for coroutines, for the first of several or for one despite cancellations; who drives them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from inspect import CO_COROUTINE
from types import CodeType, FrameType
from typing import Any, TypeVar

T = TypeVar("T")


async def first(*waits: Coroutine[Any, Any, object]) -> None:
    """Returns as soon as one of the coroutines does, and cancels the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def finish(work: Coroutine[Any, Any, T], on_cancel: Callable[[], None] = lambda: None) -> T:
    """Awaits work to its end; a cancellation in the meantime calls `on_cancel`, and is raised at the end."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            on_cancel()
    if cancelled is not None:
        raise cancelled
    return task.result()


def in_daemon_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Calls a blocking function in a thread that does not keep the process alive, unlike asyncio's."""
    called: Future[T] = Future()
    # Who cancels the returned future must not cancel this one, which ends later.
    called.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            called.set_exception(error)
        else:
            called.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return asyncio.wrap_future(called)


def driver_of_loop() -> CodeType:
    """The code that runs the callbacks of the running event loop, and so the coroutine that asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not frame.f_code.co_flags & CO_COROUTINE:
        frame = frame.f_back
    while frame is not None and frame.f_code.co_flags & CO_COROUTINE:
        frame = frame.f_back
    assert frame is not None
    return frame.f_code
