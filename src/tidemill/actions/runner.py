"""One run of an action: one call in a server process of its own, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tidemill.actions.backends import Backends
from tidemill.actions.output import Output, bounded
from tidemill.database.connect import settle_own_session
from tidemill.database.patient import PatientConnection
from tidemill.database.sql import query
from tidemill.database.words import words

logger = logging.getLogger("tidemill")

_HINDERED_SECONDS = 1.0
# Classes of errors that say nothing of the action: connections, transactions, locks, resources, the server.
_NOT_OF_THE_ACTION = {"08", "25", "40", "53", "55", "57", "58", "XX"}


@dataclass(frozen=True)
class StartedRun:
    """A run that this worker has taken, as `tidemill._start_actions` returns it."""

    run_id: int
    action_id: int
    application_name: str
    max_runtime: float | None
    """Seconds after which it is stopped; None for no limit."""


@dataclass(frozen=True)
class Ending:
    """How a run ended, as `tidemill._finish_run` takes it."""

    run_id: int
    outcome: str
    sqlstate: str | None = None
    message: str | None = None
    detail: str | None = None
    hint: str | None = None
    context: str | None = None
    output: str | None = None

    def in_ascii(self) -> Ending:
        """With texts that any database can hold, whatever its encoding."""
        return replace(
            self,
            message=_ascii(self.message),
            detail=_ascii(self.detail),
            hint=_ascii(self.hint),
            context=_ascii(self.context),
            output=_ascii(self.output),
        )


class Run:
    """Executes one run in a thread of its own, and tells how it ended.

    on_end     is called from that thread, with None if the run did not begin, because no
               connection could be opened, or there is a `hindrance`

    hindrance    what to record if the action's runs cannot begin again and again; until then the run is
                 given back, at `rests_until`
    """

    def __init__(
        self, started: StartedRun, backends: Backends, on_end: Callable[[Run, Ending | None], None]
    ) -> None:
        self.started = started
        self.began = time.monotonic()
        self.deadline = None if started.max_runtime is None else self.began + started.max_runtime
        self.pid: int | None = None
        """Its server process, while the run has one; None behind a pooler, which does not tell."""
        self.is_called = False
        """Whether the routine was called: however long it takes, it is waited for."""
        self.stopped_at: float | None = None
        self.has_complained = False
        self.hindrance: Ending | None = None
        self.rests_until = 0.0
        self._why_stopped: tuple[str, str] | None = None
        self._why_unheard: str | None = None
        self._is_terminated = False
        self._backends = backends
        self._on_end = on_end
        self._connection: PatientConnection | None = None
        self._output = Output()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"tidemill-run-{started.run_id}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, outcome: str, why: str) -> None:
        """Notes that the run must stop, and why; only the first reason is recorded. See `cancel`."""
        with self._lock:
            if self._why_stopped is None:
                self._why_stopped = (outcome, why)
                self.stopped_at = time.monotonic()

    def cancel(self, over: psycopg.Connection) -> None:
        """Has the server cancel the statement; ask again, since between two statements this is lost.

        It asks over another connection, since that of the run may be dead without a word.
        """
        with self._lock:
            if self.pid is not None:
                over.execute("select pg_catalog.pg_cancel_backend(%s::integer)", [self.pid])
            elif self._connection is not None:
                with contextlib.suppress(psycopg.Error):
                    self._connection.cancel_safe(timeout=1)

    def terminate(self, over: psycopg.Connection) -> None:
        """Ends the server process, over another connection; ask again until it is gone."""
        with self._lock:
            if self.pid is None:
                return
            [(is_there,)] = over.execute(
                "select pg_catalog.pg_terminate_backend(%s::integer)", [self.pid]
            ).fetchall()
            if not is_there:
                self._give_up("its server process was terminated")
            elif not self._is_terminated:
                self._is_terminated = True
                logger.warning(
                    "action %s (%s) did not end when it was cancelled: its server process is terminated",
                    self.started.action_id,
                    self.started.application_name,
                )

    def give_up(self, why: str) -> None:
        """Ends the wait for the answer of the routine, which will not come: the run has ended.

        An answer that has come is still read.
        """
        with self._lock:
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        if self._connection is not None:
            self._why_unheard = why
            self._connection.patience = 0.0

    def _run(self) -> None:
        try:
            connection = self._backends.take()
        except psycopg.Error as error:
            self._could_not_start(f"no connection: {' '.join(str(error).split())}")
            self._on_end(self, None)
            return
        connection.add_notice_handler(self._output.hear)
        with self._lock:
            self._connection = connection
        try:
            ending: Ending | None = self._execute(connection)
        except BaseException as error:
            # Catch everything: a run whose end is never recorded would count as running forever.
            ending = self._ending("failure", message=f"{type(error).__name__}: {error}")
        finally:
            # From here on a late request to cancel would hit another statement.
            with self._lock:
                self._connection = self.pid = None
        connection.remove_notice_handler(self._output.hear)
        self._backends.give_back(connection)
        self._on_end(self, ending)

    def _could_not_start(self, why: str) -> None:
        logger.warning(
            "action %s (%s) could not start: %s", self.started.action_id, self.started.application_name, why
        )

    def _execute(self, connection: PatientConnection) -> Ending | None:
        """Runs it; None if a failure of ours kept it from beginning."""
        try:
            # Until _enter_run gives the session back its own settings.
            if settle_own_session(connection):
                self.pid = connection.info.backend_pid
            # Behind a pooler the session has another level, perhaps.
            connection.execute("begin isolation level read committed")
            with connection.cursor(row_factory=dict_row) as cursor:
                row = cursor.execute(
                    "select * from tidemill._begin_run(%s::bigint)", [self.started.run_id]
                ).fetchone()
            connection.execute("commit")
        except psycopg.Error as error:
            with contextlib.suppress(psycopg.Error):
                connection.execute("rollback")
            if (stopped := self._stopped(error)) is not None:
                return stopped
            if error.sqlstate is None or error.sqlstate[:2] in _NOT_OF_THE_ACTION:
                self._could_not_start(words(error))
                self.hindrance = self._failed(connection, error)
                self.rests_until = time.monotonic() + _HINDERED_SECONDS
                return None
            return self._failed(connection, error)
        if row is None or self._why_stopped is not None:
            return self._stopped() or self._ending("stopped", message="stopped before it began")
        try:
            # In a transaction of its own, and not before the begin is recorded: whatever the owner's settings
            # do to the session, a timeout that ends it at once among them, is the run's own failure.
            connection.execute(query("enter_run"), row)
            if row["set_role"] is not None:
                connection.execute(sql.SQL("set role {}").format(sql.Identifier(row["set_role"])))
            # It may take as long as it likes, and say nothing meanwhile.
            connection.patience = math.inf
            self.is_called = True
            connection.execute(row["call"])
        except psycopg.Error as error:
            return self._stopped(error) or self._failed(connection, error)
        return self._ending("success")

    def _stopped(self, error: psycopg.Error | None = None) -> Ending | None:
        """The ending of a run that was asked to stop; None if it failed by itself."""
        if self._why_stopped is None:
            return None
        # A lost connection, a cancel and a termination are our doing; other errors are the run's own.
        if error is not None and error.sqlstate not in (None, "57014", "57P01"):
            return None
        outcome, why = self._why_stopped
        diagnostic = None if error is None else error.diag
        return self._ending(
            outcome,
            sqlstate="57014",
            message=why,
            context=diagnostic.context if diagnostic else None,
        )

    def _failed(self, connection: psycopg.Connection, error: psycopg.Error) -> Ending:
        if self._why_unheard is not None and error.sqlstate is None:
            return self._ending("connection_lost", sqlstate="08006", message=self._why_unheard)
        diagnostic = error.diag
        message = diagnostic.message_primary
        if message is None:
            message = " ".join(str(error).split()) or type(error).__name__
        return self._ending(
            "connection_lost" if connection.closed else "failure",
            sqlstate=error.sqlstate,
            message=message,
            detail=diagnostic.message_detail,
            hint=diagnostic.message_hint,
            context=diagnostic.context,
        )

    def _ending(
        self,
        outcome: str,
        *,
        sqlstate: str | None = None,
        message: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
        context: str | None = None,
    ) -> Ending:
        return Ending(
            self.started.run_id,
            outcome,
            sqlstate,
            bounded(message),
            bounded(detail),
            bounded(hint),
            bounded(context),
            self._output.text(),
        )


def _ascii(text: str | None) -> str | None:
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("ascii", "backslashreplace").decode()
