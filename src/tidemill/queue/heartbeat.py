"""The heartbeat: keeps a worker's leases alive, and frees those of dead workers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from tidemill.database.migrate import refuse_newer_schema
from tidemill.database.patient import KeptConnection
from tidemill.database.sql import query
from tidemill.database.words import words
from tidemill.errors import SchemaError

logger = logging.getLogger("tidemill")


@dataclass(frozen=True)
class Registration:
    """What a worker tells the database about itself."""

    worker_id: str
    hostname: str
    pid: int
    version: str
    concurrency: int
    identifiers: Sequence[str]
    lease_seconds: float


class Heartbeat:
    """Beats in a thread of its own, over a connection of its own.

    So a long claim, or user code that blocks the event loop, cannot delay it.
    """

    def __init__(
        self,
        registration: Registration,
        *,
        connect: Callable[[], psycopg.Connection],
        interval: float,
        in_hand: Callable[[], int],
        stopping: Callable[[], bool],
        on_revival: Callable[[], None],
        on_safety: Callable[[bool], None],
        on_cancel: Callable[[dict[int, str]], None],
        on_outdated: Callable[[SchemaError], None],
    ) -> None:
        self._registration = registration
        self._connection = KeptConnection(connect)
        self._interval = interval
        self._in_hand = in_hand
        self._stopping = stopping
        self._on_revival = on_revival
        self._on_safety = on_safety
        self._on_cancel = on_cancel
        self._on_outdated = on_outdated
        self._stopped = False
        self._wake = threading.Event()
        self._outdated = False
        self._is_registered = False
        self._thread = threading.Thread(target=self._run, name="tidemill-heartbeat", daemon=True)

    def register(self) -> psycopg.Connection:
        """Registers the worker, sweeps, and returns the connection. Raises psycopg.Error."""
        connection = self._connection.open()
        self._register(connection)
        self._is_registered = True
        self._sweep(connection)
        return connection

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def look(self) -> None:
        """Has the thread ask now which jobs were cancelled. Thread-safe."""
        self._wake.set()

    def stop(self, patience: float) -> None:
        """Ends the thread and takes the worker off the list; gives up after `patience` seconds."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience)
        if self._thread.is_alive():
            logger.warning("the worker could not sign off (the database does not answer); it is swept later")
            return
        try:
            if self._is_registered:
                self._sign_off(self._connection.open())
        except psycopg.Error as error:
            logger.warning("the worker could not sign off (%s); it is swept later", words(error))
        self._connection.close()

    def _run(self) -> None:
        beat_at = time.monotonic() + self._interval
        while True:
            self._wake.wait(max(0.0, beat_at - time.monotonic()))
            self._wake.clear()
            if self._stopped:
                return
            try:
                if time.monotonic() < beat_at:
                    self._ask_cancelled()
                    continue
                self._beat()
            except SchemaError as error:
                if not self._outdated:
                    self._outdated = True
                    self._on_outdated(error)
            except Exception as error:
                # Catch everything: without heartbeats every lease would be lost.
                self._connection.close()
                logger.warning("a heartbeat failed: %s", words(error))
            beat_at = time.monotonic() + self._interval

    def _ask_cancelled(self) -> None:
        rows = self._connection.open().execute(
            query("cancelled_jobs"), {"worker_id": self._registration.worker_id}
        )
        reasons: dict[int, str] = dict(rows.fetchall())
        if reasons:
            self._on_cancel(reasons)

    def _beat(self) -> None:
        connection = self._connection.open()
        registration = self._registration
        row = connection.execute(
            "select alive, cancelled"
            " from tidemill._heartbeat(%s, pg_catalog.make_interval(secs => %s), %s, %s)",
            [registration.worker_id, registration.lease_seconds, self._in_hand(), self._stopping()],
        ).fetchone()
        assert row is not None
        alive, cancelled = row
        if not alive:
            logger.warning(
                "this worker missed its deadline, was taken for dead, and its jobs were freed; it continues"
            )
            self._register(connection)
            self._on_revival()
        if cancelled:
            self._ask_cancelled()
        self._sweep(connection)
        refuse_newer_schema(connection)

    def _register(self, connection: psycopg.Connection) -> None:
        registration = self._registration
        connection.execute(
            "select tidemill._register_worker(%s, %s, %s, %s, %s, %s, pg_catalog.make_interval(secs => %s))",
            [
                registration.worker_id,
                registration.hostname,
                registration.pid,
                registration.version,
                registration.concurrency,
                list(registration.identifiers),
                registration.lease_seconds,
            ],
        )

    def _sign_off(self, connection: psycopg.Connection) -> None:
        worker = [self._registration.worker_id]
        connection.execute(
            "delete from tidemill._listeners where worker_id operator(pg_catalog.=) %s::pg_catalog.text",
            worker,
        )
        connection.execute("select tidemill._deregister_worker(%s)", worker)

    def _sweep(self, connection: psycopg.Connection) -> None:
        for job_id, worker_id, now in connection.execute(query("sweep_leases")).fetchall():
            logger.warning("job %s was left by worker %s: %s", job_id, worker_id, now)
        [(safe,)] = connection.execute("select tidemill._express_is_safe()").fetchall()
        self._on_safety(safe)
