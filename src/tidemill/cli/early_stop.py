"""Signals before a worker handles them itself, and after: it ends at once, and well."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked = False


class EarlyStop(KeyboardInterrupt):
    """SIGTERM has come; what is being imported passes it on like a Ctrl-C."""


def arm() -> None:
    """From now on SIGTERM raises EarlyStop in the main thread, until the worker handles it."""
    signal.signal(signal.SIGTERM, _stop)


@contextmanager
def ends_well() -> Iterator[None]:
    """Exit code 0 for EarlyStop, which Typer would call aborted."""
    try:
        yield
    except EarlyStop:
        raise SystemExit(0) from None


def check() -> None:
    """Raises EarlyStop if SIGTERM has come, and a module that was being imported has swallowed that."""
    if _asked:
        raise EarlyStop


def ignore() -> None:
    """From now on signals to stop have no effect: the worker has stopped, and its exit code is known."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)


def _stop(signum: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise EarlyStop
