"""Warnings about one trouble that strikes again and again: one line a minute instead of one each time."""

from __future__ import annotations

import logging
import time

_QUIET_SECONDS = 60.0

struck: dict[str, int] = {}
"""How often each kind of trouble has struck this process, whether it was told or not."""


class Complaints:
    """Warns of the first trouble of a kind, and then once a minute with how often it has struck since.

    Kinds are few and fixed, such as "connection": the database may go on refusing with ever other words.
    It belongs to one thread.
    """

    def __init__(self, log: logging.Logger, quiet_seconds: float = _QUIET_SECONDS) -> None:
        self._log = log
        self._quiet_seconds = quiet_seconds
        self._untold: dict[str, int] = {}
        self._next_at: dict[str, float] = {}

    def warn(self, kind: str, message: str, *args: object) -> bool:
        """Warns, or only counts if it has warned of this kind within a minute; returns whether it warned."""
        struck[kind] = struck.get(kind, 0) + 1
        now = time.monotonic()
        if now < self._next_at.get(kind, now):
            self._untold[kind] = self._untold.get(kind, 0) + 1
            return False
        untold = self._untold.pop(kind, 0)
        self._next_at[kind] = now + self._quiet_seconds
        if untold:
            self._log.warning(message + " (%s more like it since the last such line)", *args, untold)
        else:
            self._log.warning(message, *args)
        return True
