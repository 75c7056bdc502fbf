"""Takes the first step of a coroutine at once, and the rest, if there is any, later."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any

from tidemill import forks


class Suspended:
    """A coroutine that waits for something; awaiting this, once, continues it.

    It runs in a context of its own, like an asyncio task: others do not see the variables it sets there.
    """

    __slots__ = ("_context", "_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, context: Context) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for
        self._context = context

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drives the coroutine to its end; returns its result or raises its error."""
        coroutine, waits_for, run = self._coroutine, self._waits_for, self._context.run
        while True:
            error: BaseException | None = None
            sent: Any = None
            try:
                sent = yield waits_for
            except BaseException as raised:
                error = raised
            try:
                waits_for = run(coroutine.send, sent) if error is None else run(coroutine.throw, error)
            except StopIteration as stop:
                return stop.value
            finally:
                if forks.is_child:
                    forks.end_child()


def first_step(function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Calls an async function and runs it until it waits: returns its result, or a Suspended.

    Call this within an asyncio task, and await the Suspended in the same task.
    """
    if forks.is_child:
        forks.end_child()
    coroutine = function(*args)
    context = copy_context()
    try:
        waits_for = context.run(coroutine.send, None)
    except StopIteration as stop:
        return stop.value
    finally:
        if forks.is_child:
            forks.end_child()
    return Suspended(coroutine, waits_for, context)


# Both call users' coroutines.
forks.ends_children(first_step.__code__)
forks.ends_children(Suspended.__await__.__code__)
