"""Commands that do one thing after the other: a signal lets them finish the one that they are at."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tidemill.cli.output import note
from tidemill.worker_options import SAME_SIGNAL_SECONDS


class Stop:
    """Whether Ctrl-C or SIGTERM has come."""

    def __init__(self, work: str) -> None:
        self.asked = False
        self._work = work
        self._at = 0.0

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and now < self._at + SAME_SIGNAL_SECONDS:
            return
        self._at = now
        if self.asked:
            # The driver cancels its statement, which leaves nothing half-done.
            raise KeyboardInterrupt
        self.asked = True
        note(
            f"Stopping after the {self._work} in work; a second signal takes that one back and stops at once."
        )


@contextmanager
def stop_between(work: str = "chunk") -> Iterator[Stop]:
    """Inside of the block the first signal is an attribute, and a second one KeyboardInterrupt.

    work  what is finished after the first, as the note about it says
    """
    stop = Stop(work)
    with _handled(stop._ask):
        yield stop


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Inside of the block SIGTERM is a KeyboardInterrupt, as Ctrl-C is."""
    with _handled(signal.default_int_handler):
        yield


@contextmanager
def _handled(handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # A program has called the command in a thread, which gets no signals.
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)
