"""Connections that do not wait forever for an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tidemill import forks
from tidemill.database.connect import prepare_session, settle_own_session


class KeptFromChildren:
    """A connection that no forked child uses, not even while it is being opened."""

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return forks.kept_from_children(super()._connect_gen(*args, **kwargs))  # type: ignore[misc]


class PatientConnection(KeptFromChildren, psycopg.Connection[Any]):
    """A blocking connection that raises OperationalError when an answer takes longer than `patience`.

    The connection is closed then. `patience` is in seconds. A server that was cut off and a proxy
    that hangs look like a slow server, so only time can tell. A change of `patience` counts for the
    present wait, too: another thread can end it.
    """

    patience = 30.0
    is_direct = False
    """No pooler stands between, so that what is set or prepared in the session stays there."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Drives one exchange with the server."""
        return super().wait(bounded(gen, self, lambda: self.patience), *args, **kwargs)


def bounded(
    gen: Generator[Any, Any, Any],
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    patience: Callable[[], float],
) -> Generator[Any, Any, Any]:
    """One exchange of psycopg's with a limit of `patience` seconds. Then it closes the connection.

    The limit may change meanwhile. Raises OperationalError.
    """
    began = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            # psycopg calls this from time to time even without any data.
            if not ready and time.monotonic() > began + (limit := patience()):
                gen.close()
                connection.pgconn.finish()
                raise psycopg.OperationalError(f"no answer from the server in {limit:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


def connect_patiently(conninfo: str, patience: float) -> PatientConnection:
    """Opens an autocommit connection for a worker's own duties. Raises psycopg.Error."""
    if forks.is_child:
        # It is in a thread of a worker's that has called users' code, and is the only one left.
        forks.end_child()
    # Without prepared statements it works behind any pooler. Plans are kept in our SQL functions.
    connection = PatientConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
    connection.patience = patience
    with closed_on_error(connection):
        prepare_session(connection)
        connection.is_direct = settle_own_session(connection)
    return connection


@contextmanager
def closed_on_error(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Closes a connection whose set-up fails, since nobody holds it yet."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


class KeptConnection:
    """A connection that a thread keeps for its duty, and re-opens after a loss."""

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection | None = None

    def open(self) -> psycopg.Connection:
        """Returns the connection. Raises psycopg.Error if it cannot be opened."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether there is one, as far as is known before it is used."""
        return self._connection is not None and not self._connection.closed

    def close(self) -> None:
        """Closes the connection if it is open; the next `open` makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
