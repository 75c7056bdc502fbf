"""Figures of the database: one short statement, now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from tidemill.complaints import Complaints
from tidemill.database.patient import KeptConnection
from tidemill.database.sql import query
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

_KEPT_SECONDS = 5.0
# That it does not answer is soon no longer so.
_NONE_KEPT_SECONDS = 1.0
# Whoever reads the figures more often, or while the database is slow, is not to make it slower.
_TIMEOUT = "2s"


class DatabaseFigures:
    """Asks the database over a connection of its own; answers are kept for some seconds. Thread-safe."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connection = KeptConnection(connect)
        self._lock = threading.Lock()
        self._found: dict[str, Any] | None = None
        self._asked_at = -_KEPT_SECONDS
        self._is_closed = False
        self._complaints = Complaints(logger)

    def get(self) -> dict[str, Any] | None:
        """What it says; None if it does not answer, or the worker has ended."""
        with self._lock:
            if self._is_closed:
                return None
            kept = min(_KEPT_SECONDS, _NONE_KEPT_SECONDS) if self._found is None else _KEPT_SECONDS
            if time.monotonic() >= self._asked_at + kept:
                self._found = self._ask()
                self._asked_at = time.monotonic()
            return self._found

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._is_closed = True
            self._connection.close()

    def _ask(self) -> dict[str, Any] | None:
        was_kept = self._connection.is_open
        try:
            try:
                return self._read()
            except psycopg.OperationalError as error:
                # A kept connection is found broken only when it is used, which says nothing of the database.
                if not was_kept or isinstance(error, psycopg.errors.QueryCanceled):
                    raise
                self._connection.close()
                return self._read()
        except Exception as error:
            self._connection.close()
            self._complaints.warn("metrics", "the figures of the database are not read: %s", in_short(error))
            return None

    def _read(self) -> dict[str, Any]:
        connection = self._connection.open()
        # Behind a pooler the next transaction may have another session.
        with connection.transaction():
            connection.execute(f"set local statement_timeout to '{_TIMEOUT}'".encode())
            [(found,)] = connection.execute(query("metrics")).fetchall()
        return dict(found)
