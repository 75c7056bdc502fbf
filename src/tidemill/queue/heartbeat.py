"""The heartbeat: keeps a worker's leases alive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psycopg

from tidemill.complaints import Complaints
from tidemill.database.migrate import refuse_newer_schema
from tidemill.database.patient import KeptConnection
from tidemill.database.sql import query
from tidemill.database.words import in_short
from tidemill.errors import SchemaError
from tidemill.queue.own_lease import OwnLease, now

logger = logging.getLogger("tidemill")

# After a heartbeat that failed the next one comes sooner, since the lease ends soon.
_RETRY_SECONDS = 1.0


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


class Reports(Protocol):
    """What a worker has counted."""

    def take(self) -> None:
        """Keeps what is new for the next `write`."""

    def write(self, connection: psycopg.Connection) -> None:
        """Writes what is new. Raises psycopg.Error."""


class Heartbeat:
    """Beats in a thread of its own, over a connection of its own, and renews `own_lease`.

    So a long claim, or user code that blocks the event loop, cannot delay it. `on_term` is called
    when a new term of the lease begins; `on_stop` once, when somebody asks the worker to stop, with who
    and why. Behind each beat, and at the end, it writes `reports`; behind each beat it calls `go_on`, which
    writes down what could not be written when the worker started.
    """

    def __init__(
        self,
        registration: Registration,
        *,
        own_lease: OwnLease,
        reports: Reports,
        go_on: Callable[[psycopg.Connection], None],
        connect: Callable[[], psycopg.Connection],
        interval: float,
        in_hand: Callable[[], int],
        stopping: Callable[[], bool],
        on_term: Callable[[], None],
        on_cancel: Callable[[dict[int, str]], None],
        on_stop: Callable[[str], None],
        on_outdated: Callable[[SchemaError], None],
    ) -> None:
        self._registration = registration
        self._own_lease = own_lease
        self._reports = reports
        self._go_on = go_on
        self._connection = KeptConnection(connect)
        self._interval = interval
        self._in_hand = in_hand
        self._stopping = stopping
        self._on_term = on_term
        self._on_cancel = on_cancel
        self._on_stop = on_stop
        self._on_outdated = on_outdated
        self._stopped = False
        self._stop_is_told = False
        self._wake = threading.Event()
        self._outdated = False
        self._complaints = Complaints(logger)
        self.is_registered = False
        self.is_well = True
        """Whether the last heartbeat has arrived."""
        self._thread = threading.Thread(target=self._run, name="tidemill-heartbeat", daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether its thread was started, and runs no more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def register(self) -> psycopg.Connection:
        """Registers the worker, and returns the connection. Raises psycopg.Error."""
        connection = self._connection.open()
        self._register(connection)
        self.is_registered = True
        return connection

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def look(self) -> None:
        """Has the thread ask now which jobs were cancelled, and whether to stop. Thread-safe."""
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
            if self.is_registered:
                self._sign_off(self._connection.open())
                self._report(self._connection.open())
        except psycopg.Error as error:
            logger.warning("the worker could not sign off (%s); it is swept later", in_short(error))
        self._connection.close()

    def _run(self) -> None:
        beat_at = time.monotonic() + self._interval
        while True:
            self._wake.wait(max(0.0, beat_at - time.monotonic()))
            self._wake.clear()
            if self._stopped:
                return
            wait = self._interval
            try:
                if time.monotonic() < beat_at:
                    self._ask_what_is_wanted()
                    continue
                connection = self._connection.open()
                self._beat(connection)
                self.is_well = True
                self._report(connection)
                self._declare(connection)
            except SchemaError as error:
                if not self._outdated:
                    self._outdated = True
                    self._on_outdated(error)
            except Exception as error:
                # Catch everything: without heartbeats every lease would be lost.
                self._connection.close()
                self.is_well = False
                self._reports.take()
                wait = min(wait, _RETRY_SECONDS)
                self._complaints.warn(
                    "heartbeat", "a heartbeat failed, and is tried again: %s", in_short(error)
                )
            beat_at = time.monotonic() + wait

    def _ask_what_is_wanted(self) -> None:
        worker = {"worker_id": self._registration.worker_id}
        try:
            rows = self._connection.open().execute(query("cancelled_jobs"), worker)
        except psycopg.errors.LockNotAvailable:
            # Somebody changes the table of jobs: heartbeats must not wait for that.
            return
        reasons: dict[int | None, str] = dict(rows.fetchall())
        stop = reasons.pop(None, None)
        if stop is not None and not self._stop_is_told:
            self._stop_is_told = True
            self._on_stop(stop)
        if reasons:
            self._on_cancel({job_id: why for job_id, why in reasons.items() if job_id is not None})

    def _beat(self, connection: psycopg.Connection) -> None:
        registration = self._registration
        sent_at = now()
        row = connection.execute(
            "select alive from tidemill._heartbeat(%s, pg_catalog.make_interval(secs => %s), %s, %s, false)",
            [registration.worker_id, registration.lease_seconds, self._in_hand(), self._stopping()],
        ).fetchone()
        assert row is not None
        if not row[0]:
            self._register(connection)
            logger.warning(
                "this worker missed its deadline, was taken for dead, and its jobs were freed; it continues"
            )
            self._on_term()
        elif self._own_lease.renew(sent_at, kept=True):
            logger.warning("heartbeats arrive again, and nobody has freed this worker's jobs; it continues")
            self._on_term()
        self._ask_what_is_wanted()
        refuse_newer_schema(connection)

    def _report(self, connection: psycopg.Connection) -> None:
        """Writes what was counted; a failure is none of the heartbeat's."""
        try:
            self._reports.write(connection)
        except Exception as error:
            self._complaints.warn("reports", "what tasks did could not be counted: %s", in_short(error))

    def _declare(self, connection: psycopg.Connection) -> None:
        """Writes down what is left; a failure is none of the heartbeat's."""
        try:
            self._go_on(connection)
        except Exception as error:
            self._complaints.warn(
                "declarations", "what tasks declare could not be written: %s", in_short(error)
            )

    def _register(self, connection: psycopg.Connection) -> None:
        registration = self._registration
        sent_at = now()
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
        self._own_lease.renew(sent_at, kept=False)

    def _sign_off(self, connection: psycopg.Connection) -> None:
        worker = [self._registration.worker_id]
        connection.execute(
            "delete from tidemill._listeners where worker_id operator(pg_catalog.=) %s::pg_catalog.text",
            worker,
        )
        connection.execute("select tidemill._deregister_worker(%s)", worker)
