"""Progress: what running jobs say of themselves, on its way to the database."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable

import psycopg

from tidemill import forks
from tidemill.complaints import Complaints
from tidemill.database.patient import KeptConnection
from tidemill.database.words import in_short

logger = logging.getLogger("tidemill")

# All that was told in this time is written together, the last word of each job.
_PACE_SECONDS = 0.5
# After so long without a word the connection is closed.
_IDLE_SECONDS = 30.0


class ProgressBoard:
    """Writes the progress of jobs in a thread of its own, over a connection that is open while some tell any.

    Only leased jobs are seen to run, so only theirs is written: `is_leased` says, by id and claim token,
    whether a job is leased to this worker. Thread-safe.
    """

    def __init__(
        self, *, connect: Callable[[], psycopg.Connection], is_leased: Callable[[int, int], bool]
    ) -> None:
        self._connection = KeptConnection(connect)
        self._is_leased = is_leased
        # By job. The tasks' threads and the event loop set, and the thread pops: single steps of a dict.
        self._told: dict[int, tuple[int, float | None, str | None]] = {}
        # Those that were not leased at the last look: a job of an express batch is so soon, or has ended.
        self._waiting: set[tuple[int, int]] = set()
        self._shown: set[tuple[int, int]] = set()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._complaints = Complaints(logger)
        self._thread = threading.Thread(target=self._run, name="tidemill-progress", daemon=True)

    def tell(self, job_id: int, token: int, fraction: float | None, message: str | None) -> None:
        """Takes note of a job's progress. Never waits."""
        if forks.is_child:
            # The thread that would write it has stayed with the parent.
            return
        self._told[job_id] = (token, fraction, message)
        if not self._wake.is_set():
            self._wake.set()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Takes away what is shown, and ends the thread; gives up after `patience` seconds."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._wake.wait(_IDLE_SECONDS):
                self._connection.close()
                continue
            self._wake.clear()
            while (self._told or self._shown) and not self._stop.wait(_PACE_SECONDS):
                self._write()
        self._told.clear()
        self._write()
        self._connection.close()

    def _write(self) -> None:
        rows = self._read_told()
        gone = [key for key in self._shown if not self._is_leased(*key)]
        if not rows and not gone:
            return
        told = [
            {"id": job_id, "token": token, "fraction": fraction, "message": message}
            for (job_id, token), (fraction, message) in rows.items()
        ]
        ended = [{"id": job_id, "token": token} for job_id, token in gone]
        try:
            self._connection.open().execute(
                "select tidemill._show_progress(%s::pg_catalog.json, %s::pg_catalog.json)",
                [json.dumps(told), json.dumps(ended)],
            )
        except Exception as error:
            # Anything: what a job says of itself must not matter more than that it runs.
            if not isinstance(error, psycopg.errors.LockNotAvailable):
                self._connection.close()
            for (job_id, token), (fraction, message) in rows.items():
                self._told.setdefault(job_id, (token, fraction, message))
            self._complaints.warn("progress", "the progress of jobs is not shown: %s", in_short(error))
            return
        self._shown.difference_update(gone)
        self._shown.update(rows)

    def _read_told(self) -> dict[tuple[int, int], tuple[float | None, str | None]]:
        """What was told of jobs that are leased."""
        rows: dict[tuple[int, int], tuple[float | None, str | None]] = {}
        waiting: set[tuple[int, int]] = set()
        for job_id in list(self._told):
            token, fraction, message = self._told.pop(job_id)
            if self._is_leased(job_id, token):
                rows[job_id, token] = (fraction, message)
            elif (job_id, token) not in self._waiting:
                waiting.add((job_id, token))
                self._told.setdefault(job_id, (token, fraction, message))
        self._waiting = waiting
        return rows
