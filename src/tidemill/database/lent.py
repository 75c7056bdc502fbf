"""Connections that are lent to users' code: whether they were of use, and how to free who waits on one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import psycopg

from tidemill.database.patient import KeptFromChildren, bounded
from tidemill.errors import BatchError, TidemillError

_FATAL = {"FATAL", "PANIC"}
_CANCEL_SECONDS = 10.0


class LentConnection(KeptFromChildren, psycopg.Connection[Any]):
    """A blocking connection that knows when it last heard of its server.

    heard_at  when an exchange last ended well, by `time.monotonic`
    unused    nothing was carried out on it since it was lent
    patience  seconds in which an exchange has to end, or else the connection is closed; None: no limit,
              since only the user knows how long a statement of theirs may take
    """

    heard_at = 0.0
    unused = False
    patience: float | None = None
    _is_cancelled = False

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Drives one exchange with the server."""
        if (patience := self.patience) is not None:
            gen = bounded(gen, self, lambda: patience)
        try:
            answer = super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            _blame(self, error)
            raise
        self.unused = False
        self.heard_at = time.monotonic()
        return answer

    def cut(self) -> None:
        """Frees a thread that waits here for an answer: the first call cancels the statement, the next cuts.

        For other threads than the one that waits.
        """
        if _is_waiting(self):
            if self._is_cancelled:
                _shut_down(self)
            else:
                self._is_cancelled = True
                # Without it the server would go on with the statement. It may take long, or for ever.
                threading.Thread(target=self._cancel, name="tidemill-cancel", daemon=True).start()

    def _cancel(self) -> None:
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=_CANCEL_SECONDS)


class AsyncLentConnection(KeptFromChildren, psycopg.AsyncConnection[Any]):
    """See `LentConnection`."""

    heard_at = 0.0
    unused = False
    patience: float | None = None
    _is_cut = False

    async def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Drives one exchange with the server."""
        if (patience := self.patience) is not None:
            gen = bounded(gen, self, lambda: patience)
        try:
            answer = await super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            if self._is_cut and isinstance(error.__context__, asyncio.CancelledError):
                # Before 3.3 psycopg raises the connection's error in place of the cancel that it was under.
                raise error.__context__ from None
            _blame(self, error)
            raise
        self.unused = False
        self.heard_at = time.monotonic()
        return answer

    def cut(self) -> None:
        """Frees a coroutine that waits here for an answer. psycopg has cancelled the statement by itself."""
        if _is_waiting(self):
            self._is_cut = True
            _shut_down(self)


AnyLent = LentConnection | AsyncLentConnection

held_here: ContextVar[set[AnyLent]] = ContextVar("tidemill_held_connections")
"""The connections that an attempt holds; asyncio tasks and threads that it makes have the same set."""


@contextmanager
def lending(connection: AnyLent) -> Iterator[None]:
    """The connection is lent inside the block."""
    connection.unused = True
    held = held_here.get(None)
    if held is None:
        yield
        return
    held.add(connection)
    try:
        yield
    finally:
        held.discard(connection)
        if isinstance(connection, LentConnection) and connection._is_cancelled:
            # The cancel may still be on its way, and would strike a statement of the next one who borrows it.
            connection.close()


def spare(error: psycopg.Error | TidemillError) -> None:
    """Marks an error as the failure of a connection that was of no use yet."""
    error._tidemill_spared = True  # type: ignore[union-attr]


def is_spared(error: BaseException) -> bool:
    """Whether `spare` has marked an error, or one that led to it. Of several errors, all have to be so."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, BaseExceptionGroup | BatchError):
            return all(map(is_spared, cause.exceptions))
        if isinstance(cause, psycopg.Error | TidemillError) and hasattr(cause, "_tidemill_spared"):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def _blame(connection: AnyLent, error: psycopg.Error) -> None:
    """Marks the error that ends an unused connection."""
    # Where a server that ends meets a statement, psycopg may find more answers than it can read.
    confused = isinstance(error, psycopg.InternalError) and error.sqlstate is None
    # Its transaction cannot have been committed. Who has set autocommit has used it: see `unused`.
    if connection.unused and (connection.closed or confused or error.diag.severity_nonlocalized in _FATAL):
        spare(error)


def _is_waiting(connection: AnyLent) -> bool:
    return connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE


def _shut_down(connection: AnyLent) -> None:
    # Whoever waits wakes up and closes it: a close from here would pull its memory away.
    with (
        suppress(OSError, psycopg.Error),
        socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)
