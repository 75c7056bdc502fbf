"""Signals before a worker handles them itself, and after: it ends at once, and well."""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tidemill.worker_options import SAME_SIGNAL_SECONDS

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


def ended(code: int) -> None:
    """The worker has stopped, and will exit with this code: a signal that has come twice changes nothing.

    Code of users' may hold up the end, as a thread of an executor does: later signals end it at once.
    """
    since = time.monotonic()

    def hurry(signum: int, frame: FrameType | None) -> None:
        if time.monotonic() > since + SAME_SIGNAL_SECONDS:
            os._exit(code)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, hurry)
    # Python takes handlers away soon after it calls this, and a signal would kill the process then.
    atexit.register(ignore)


def ignore() -> None:
    """From now on signals to stop have no effect: this process is about to end."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)


def _stop(signum: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    # Another one would come in the midst of the way out.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise EarlyStop
