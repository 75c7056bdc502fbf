"""The cutter: what has to stop does not wait for the database any longer."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from tidemill.database.lent import AnyLent
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

# So long a cancel may take to come through, and a plain function to stop by itself.
_GRACE_SECONDS = 2.0
_PAUSE_SECONDS = 1.0


class Stopped(Protocol):
    """What was asked to stop."""

    held: set[AnyLent]

    def has_ended(self) -> bool:
        """Whether nothing of it runs any longer."""


class Cutter:
    """Cuts the connections on which attempts wait that should have ended. Thread-safe.

    It has a thread while there are such attempts: a server that never answers would keep a plain
    function for ever, also after the event loop of its worker.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped: dict[Stopped, float] = {}
        self._is_running = False

    def add(self, stopped: Stopped) -> None:
        """Takes an attempt that was asked to stop."""
        with self._lock:
            self._stopped.setdefault(stopped, time.monotonic())
            if not self._is_running:
                threading.Thread(target=self._run, name="tidemill-cutter", daemon=True).start()
                self._is_running = True

    def _run(self) -> None:
        while left := self._left():
            for stopped, since in left:
                if time.monotonic() - since >= _GRACE_SECONDS:
                    for connection in stopped.held.copy():
                        _cut(connection)
            time.sleep(_PAUSE_SECONDS)

    def _left(self) -> list[tuple[Stopped, float]]:
        with self._lock:
            self._stopped = {one: since for one, since in self._stopped.items() if not one.has_ended()}
            self._is_running = bool(self._stopped)
            return list(self._stopped.items())


def _cut(connection: AnyLent) -> None:
    try:
        connection.cut()
    except Exception as error:
        # Catch everything: without this thread nothing would be cut any more.
        logger.warning("a connection on which a stopped task waits could not be cut: %s", in_short(error))
