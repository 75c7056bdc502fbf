"""The connections on which actions run."""

from __future__ import annotations

import threading
import time

import psycopg

from tidemill.database.patient import PatientConnection

_IDLE_SECONDS = 60.0
# For what takes no time where the server still answers.
_QUICK_SECONDS = 5.0


class Backends:
    """Connections for runs. Each is clean when it is taken, and serves one run at a time.

    patience  how long they wait for answers to our own statements, in seconds
    """

    def __init__(self, conninfo: str, *, patience: float) -> None:
        self._conninfo = conninfo
        self._patience = patience
        self._idle: list[tuple[float, PatientConnection]] = []
        self._lock = threading.Lock()

    def take(self) -> PatientConnection:
        """A connection in autocommit. Raises psycopg.Error if none can be opened."""
        while (connection := self._take_idle()) is not None:
            try:
                # The server may have ended it in the meantime, which only a round trip shows.
                connection.execute("select")
                connection.patience = self._patience
                return connection
            except psycopg.Error:
                connection.close()
        connection = PatientConnection.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        connection.patience = self._patience
        return connection

    def _take_idle(self) -> PatientConnection | None:
        with self._lock:
            return self._idle.pop()[1] if self._idle else None

    def give_back(self, connection: PatientConnection) -> None:
        """Cleans a connection, and keeps it for a while."""
        connection.patience = _QUICK_SECONDS
        try:
            connection.execute("discard all")
        except psycopg.Error:
            connection.close()
            return
        with self._lock:
            self._idle.append((time.monotonic(), connection))

    def close_idle(self, *, all_of_them: bool = False) -> None:
        """Closes the connections that were idle for a minute, or `all_of_them`."""
        oldest = time.monotonic() - _IDLE_SECONDS
        with self._lock:
            stale = [entry for entry in self._idle if all_of_them or entry[0] < oldest]
            self._idle = [entry for entry in self._idle if entry not in stale]
        for _, connection in stale:
            connection.close()
