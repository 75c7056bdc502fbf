"""The listener: receives notifications on its own connection, which it checks and re-opens."""

from __future__ import annotations

import logging
import math
import os
import random
import selectors
import threading
import time
from collections.abc import Callable, Mapping

import psycopg

from tidemill.complaints import Complaints
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

PING = "tidemill:ping"
_LONGEST_BACKOFF = 30.0
# A flood of notifications costs one look in this time.
_PACE_SECONDS = 0.05


class Listener:
    """Tells of notifications, in its own thread.

    readers  by channel: called with the payload of each notification; ValueError for one that is not ours
    lookers  by channel: called after one or more notifications, whatever they say, and not too often

    Somebody must send `NOTIFY "tidemill:ping", '<name>'` at least every `ping_interval`
    seconds. If none comes back for three intervals, the connection counts as dead and is
    opened anew. It may look alive: a half-open socket reports nothing, and a pooler in
    transaction mode swallows LISTEN without an error.
    """

    def __init__(
        self,
        *,
        name: str,
        connect: Callable[[], psycopg.Connection],
        readers: Mapping[str, Callable[[str], None]],
        lookers: Mapping[str, Callable[[], None]],
        on_connect: Callable[[], None],
        ping_interval: float,
    ) -> None:
        self._name = name
        self._connect = connect
        self._readers = readers
        self._lookers = lookers
        self._on_connect = on_connect
        self._patience = 3 * ping_interval
        self._stop = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._failures = 0
        self.is_well = False
        """Whether it listens, and the last ping came in time."""
        self._waiting: set[str] = set()
        self._look_at = dict.fromkeys(lookers, 0.0)
        self._complaints = Complaints(logger)
        self._thread = threading.Thread(target=self._run, name="tidemill-listener", daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether its thread was started, and runs no more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Ends the thread, and waits for that up to `patience` seconds."""
        self._stop.set()
        os.write(self._wake_write, b"x")
        self._thread.join(patience)
        if not self._thread.is_alive():
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    # A payload with a character that the client's encoding lacks would end the session.
                    connection.execute("set client_encoding to 'UTF8'")
                    for channel in (*self._readers, *self._lookers, PING):
                        connection.execute(f'listen "{channel}"'.encode())
                    # Notifications may have been lost while nobody listened, so the worker has to look.
                    self._on_connect()
                    self.is_well = True
                    self._hear(connection)
            except (psycopg.Error, OSError) as error:
                self._failed(in_short(error))

    def _hear(self, connection: psycopg.Connection) -> None:
        last_ping = time.monotonic()
        # select() would refuse file descriptors above 1023.
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stop.is_set():
                left = last_ping + self._patience - time.monotonic()
                if left <= 0:
                    self._failed("notifications do not come through; a connection pooler in the way?")
                    return
                selector.select(min(left, self._look()))
                connection.pgconn.consume_input()
                while notification := connection.pgconn.notifies():
                    # In the encoding of the session, whatever that is.
                    channel = notification.relname.decode(errors="replace")
                    payload = notification.extra.decode(errors="replace")
                    if channel in self._lookers:
                        self._waiting.add(channel)
                    elif channel != PING:
                        self._read(channel, payload)
                    elif payload == self._name:
                        last_ping = time.monotonic()
                        self._failures = 0
                        self.is_well = True

    def _look(self) -> float:
        """Calls the lookers that have to be called; returns in how many seconds another one has to be."""
        now = time.monotonic()
        for channel in [channel for channel in self._waiting if now >= self._look_at[channel]]:
            self._waiting.discard(channel)
            self._look_at[channel] = now + _PACE_SECONDS
            self._lookers[channel]()
        return min((self._look_at[channel] - now for channel in self._waiting), default=math.inf)

    def _read(self, channel: str, payload: str) -> None:
        try:
            self._readers[channel](payload)
        except ValueError as error:
            # Anybody may notify, with any payload and as often as they like.
            self._complaints.warn(
                "payload", "a notification on %s was not understood: %r (%s)", channel, payload[:80], error
            )

    def _failed(self, why: str) -> None:
        if self._stop.is_set():
            return
        self._failures += 1
        self.is_well = False
        wait = min(_LONGEST_BACKOFF, 0.1 * 2 ** min(self._failures, 16)) * random.uniform(0.5, 1.0)
        self._complaints.warn(
            "database",
            "no notifications (%s); polling alone until they are back, next try in %.1f s",
            why,
            wait,
        )
        self._stop.wait(wait)
