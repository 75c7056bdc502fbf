"""Waiting for jobs: one thread and one connection for all who wait in this process."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg

from tidemill import forks
from tidemill.complaints import Complaints
from tidemill.connections import Connections
from tidemill.database.connect import explain
from tidemill.database.patient import connect_patiently
from tidemill.database.words import in_short
from tidemill.errors import (
    InvalidJobError,
    JobFailedError,
    MissingRightsError,
    ResultError,
    SchemaError,
    TidemillError,
    UnsupportedServerError,
)
from tidemill.jobs import Job
from tidemill.texts import message_of

logger = logging.getLogger("tidemill")

_PATIENCE_SECONDS = 30.0
# After somebody begins to wait, and after a notification, it looks again so often; then once a second.
_LOOKS = (0.0, 0.01, 0.1)
_INTERVAL_SECONDS = 1.0
# The clocks of the server and of this process may differ.
_MARGIN = timedelta(hours=1)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class _Wait:
    job_id: int
    since: datetime
    is_kept: bool
    """As far as this app knows."""
    future: Future[Any] = field(default_factory=Future)


class Waiting:
    """Waits for the ends of jobs. Thread-safe.

    The database tells of ends on a channel; that is a hint, and without it (behind a pooler, for instance)
    a look once a second is enough. The thread ends when nobody waits.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._complaints = Complaints(logger)
        self.renew()

    def renew(self) -> None:
        """Forgets who waits: in a forked child they are the parent's."""
        self._lock = threading.Lock()
        self._waits: dict[Future[Any], _Wait] = {}
        self._thread: threading.Thread | None = None
        self._channel = f"tidemill:ended:{secrets.token_hex(8)}"
        self._wake_read, self._wake_write = -1, -1

    def ask(self, job: Job | int, *, is_kept: bool) -> Future[Any]:
        """The result of a job; the future raises what `App.wait` raises. `is_kept`: history of it is kept."""
        forks.renew_in_children(self)
        if isinstance(job, Job):
            wait = _Wait(job.id, job.created_at - _MARGIN, is_kept)
        elif type(job) is int and 0 < job < 2**63:
            wait = _Wait(job, _LONG_AGO, is_kept)
        else:
            raise InvalidJobError(f"{job!r} is no job to wait for: give a Job, or the id of one.")
        with self._lock:
            self._waits[wait.future] = wait
            if self._thread is None:
                self._wake_read, self._wake_write = os.pipe()
                os.set_blocking(self._wake_write, False)
                self._thread = threading.Thread(target=self._run, name="tidemill-waiting", daemon=True)
                self._thread.start()
            else:
                # One that is full wakes it as well.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake_write, b"x")
        return wait.future

    def forget(self, future: Future[Any]) -> None:
        """Whoever asked waits no longer."""
        with self._lock:
            self._waits.pop(future, None)

    def _run(self) -> None:
        role = ""
        while not self._is_over():
            try:
                conninfo = self._connections.database().for_application("tidemill waiting")
                with connect_patiently(conninfo, _PATIENCE_SECONDS) as connection:
                    role = connection.info.user
                    self._listen(connection)
            except Exception as error:
                if (lasting := _lasting(error, role)) is not None:
                    self._refuse(lasting)
                    continue
                # Catch everything: those who wait have time limits of their own.
                self._complaints.warn(
                    "database", "nobody is told of ended jobs (%s); trying again", in_short(error)
                )
                time.sleep(_INTERVAL_SECONDS)

    def _refuse(self, error: TidemillError) -> None:
        """Tells all who wait: it would be no other the next time."""
        for wait in self._current():
            self.forget(wait.future)
            if wait.future.set_running_or_notify_cancel():
                # Each its own: whoever raises it adds to its traceback.
                wait.future.set_exception(type(error)(*error.args))

    def _is_over(self) -> bool:
        with self._lock:
            if self._waits:
                return False
            self._thread = None
            os.close(self._wake_read)
            os.close(self._wake_write)
            return True

    def _current(self) -> list[_Wait]:
        with self._lock:
            return list(self._waits.values())

    def _listen(self, connection: psycopg.Connection) -> None:
        connection.execute(f'listen "{self._channel}"'.encode())
        looks = list(_LOOKS)
        declared = set[int]()
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                waits = self._current()
                wanted = {wait.job_id for wait in waits}
                if new := list(wanted - declared):
                    looks = list(_LOOKS)
                    connection.execute("select tidemill._wait_for(%s::bigint[], %s)", [new, self._channel])
                if gone := list(declared - wanted):
                    # They have ended, or whoever asked has given up.
                    connection.execute(
                        "select tidemill._wait_no_more(%s::bigint[], %s)", [gone, self._channel]
                    )
                declared = wanted
                if not waits:
                    return
                if self._look(connection, waits):
                    continue
                ready = selector.select(looks.pop(0) if looks else _INTERVAL_SECONDS)
                if any(key.fd == self._wake_read for key, _ in ready):
                    os.read(self._wake_read, 1000)
                connection.pgconn.consume_input()
                while connection.pgconn.notifies():
                    looks = list(_LOOKS[1:])

    def _look(self, connection: psycopg.Connection, waits: list[_Wait]) -> bool:
        """Tells those whose job has ended; returns whether there was any."""
        rows = connection.execute(
            "select id, outcome, result, error, error_type, is_kept, identifier "
            "from tidemill._job_ends(%s::bigint[], %s)",
            [list({wait.job_id for wait in waits}), min(wait.since for wait in waits)],
        ).fetchall()
        ends = {row[0]: row[1:] for row in rows}
        over = [wait for wait in waits if _end(wait, *ends[wait.job_id])]
        for wait in over:
            self.forget(wait.future)
        return bool(over)


def _end(
    wait: _Wait,
    outcome: str | None,
    result: str | None,
    error: str | None,
    error_type: str | None,
    is_kept: bool,
    identifier: str | None,
) -> bool:
    """Tells whoever waits how the job ended; False if it has not."""
    if outcome is None and (is_kept or wait.is_kept):
        return False
    # Who asked may have given up.
    if not wait.future.set_running_or_notify_cancel():
        return True
    job_id = wait.job_id
    if outcome == "done":
        try:
            value = None if result is None else msgspec.json.decode(result)
        except Exception as error:
            wait.future.set_exception(
                ResultError(
                    f"Job {job_id} is done, but its result cannot be read here ({message_of(error)}). "
                    f"Read it as text: select result from tidemill.job_result({job_id})."
                )
            )
        else:
            wait.future.set_result(value)
    elif outcome is None:
        wait.future.set_exception(
            InvalidJobError(
                f"No history is kept of job {job_id} ({identifier}), so nobody can tell how it ends. "
                "Keep it: @app.task(keep_result=True), or add the job with keep='1 day'."
            )
        )
    elif outcome == "gone":
        wait.future.set_exception(
            InvalidJobError(
                f"Nothing is known of job {job_id}: it is done and no history of it is kept (any longer), it "
                "was removed, or never was. Keep it: @app.task(keep_result=True)."
            )
        )
    else:
        how = {"failed": "has failed for good", "cancelled": "is cancelled"}.get(outcome, f"is {outcome}")
        wait.future.set_exception(
            JobFailedError(f"Job {job_id} {how}: {error or 'without a word'}", job_id, outcome, error_type)
        )
    return True


def _lasting(error: Exception, role: str) -> TidemillError | None:
    """What whoever waits is told at once, since to try again would be in vain; None for all else."""
    known = explain(error) if isinstance(error, psycopg.Error) else error
    if isinstance(known, MissingRightsError):
        return MissingRightsError(
            f'The role "{role}" may not wait for jobs: how they end, and with what result, is for readers '
            f"({in_short(error)}). Have the owner of Tidemill grant it: tidemill grant reader TO {role}"
        )
    return known if isinstance(known, SchemaError | UnsupportedServerError) else None


def given_up(future: Future[Any], job: Job | int, timeout: float | None) -> TimeoutError:
    """What is raised once a timeout is over."""
    future.cancel()
    job_id = job.id if isinstance(job, Job) else job
    return TimeoutError(f"Job {job_id} has not ended within {timeout:g} s.")
