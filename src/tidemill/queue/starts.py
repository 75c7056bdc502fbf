"""Starts: tells the database which jobs that were claimed ahead start now."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import psycopg
from psycopg import pq

from tidemill.complaints import Complaints
from tidemill.database.patient import PatientConnection, closed_on_error
from tidemill.database.words import in_short
from tidemill.queue.threads import Threads

logger = logging.getLogger("tidemill")

_STATEMENT = b"select tidemill._start_jobs($1, $2)"
_PREPARED = b"tidemill_start_jobs"
_PREPARE = b"prepare tidemill_start_jobs (text, bigint) as " + _STATEMENT
_LONGEST_BACKOFF = 5.0

Answered = Callable[[bool], None]
"""Is told whether the jobs may start."""
Ask = Callable[[int, Answered], None]


class Starts:
    """Asks for one group of jobs after the other, over a connection of its own. Belongs to the event loop.

    connect   opens the connection, in another thread, when it is first needed
    patience  seconds after which a connection counts as lost that does not answer

    It talks from the event loop, without ever waiting: to hand a question to another thread and its answer
    back would take longer than most groups of jobs run.
    """

    def __init__(self, worker_id: str, connect: Callable[[], PatientConnection], patience: float) -> None:
        self._worker_id = worker_id.encode()
        self._connect = connect
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._connection: PatientConnection | None = None
        self._is_prepared = False
        # A connection that broke does not tell it any more.
        self._socket = -1
        # The event loop itself does not keep its tasks.
        self._opening: asyncio.Task[None] | None = None
        # Not the loop's own threads: tasks may have taken all of those, for as long as they like.
        self._threads = Threads()
        self._asked: tuple[int, Answered] | None = None
        self._may_start = False
        self._deadline: asyncio.TimerHandle | None = None
        self._failures = 0
        self._complaints = Complaints(logger)
        self._closed = False

    def ask(self, token: int, answered: Answered) -> None:
        """Asks whether the jobs with this claim token may start; from then on their attempts are spent.

        Ask again only when this was answered. If the database does not answer, they may not.
        """
        self._asked = (token, answered)
        if self._connection is not None:
            self._send(self._connection)
        else:
            self._opening = self._loop.create_task(self._open())

    def close(self) -> None:
        """Closes the connection; what was asked is not answered any more."""
        self._closed = True
        self._asked = None
        self._drop()
        self._threads.close()

    def _send(self, connection: psycopg.Connection) -> None:
        assert self._asked is not None
        self._may_start = False
        pgconn = connection.pgconn
        values = [self._worker_id, str(self._asked[0]).encode()]
        try:
            if self._is_prepared:
                pgconn.send_query_prepared(_PREPARED, values)
            else:
                pgconn.send_query_params(_STATEMENT, values)
            pgconn.flush()
        except psycopg.Error as error:
            self._lost(error)
            return
        self._deadline = self._loop.call_later(self._patience, self._lost, TimeoutError("no answer"))

    def _readable(self, connection: psycopg.Connection) -> None:
        pgconn = connection.pgconn
        try:
            pgconn.consume_input()
            if self._deadline is None:
                # Nothing was asked: a notice, or the end of the connection, which raises an error.
                return
            # The answer comes in parts. To ask for one that is not there yet would block the event loop.
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                if result.status != pq.ExecStatus.TUPLES_OK:
                    raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
                self._may_start = result.get_value(0, 0) == b"t"
            else:
                return
        except psycopg.Error as error:
            self._lost(error)
            return
        self._failures = 0
        self._deadline.cancel()
        self._deadline = None
        if self._asked is not None:
            (_, answered), self._asked = self._asked, None
            answered(self._may_start)

    def _lost(self, error: Exception) -> None:
        """Drops the connection, and answers no: jobs that wait here could start in other workers."""
        self._drop()
        if self._asked is None:
            return
        self._failures += 1
        self._complaints.warn(
            "database",
            "jobs that were claimed ahead are given back, since the database does not answer (%s)",
            in_short(error),
        )
        (_, answered), self._asked = self._asked, None
        answered(False)

    async def _open(self) -> None:
        if self._failures:
            wait = min(_LONGEST_BACKOFF, 0.05 * 2.0 ** min(self._failures, 10))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        try:
            connection = await self._threads.run(self._connect_and_prepare)
        except Exception as error:
            # Catch everything (no more files, for instance): the jobs would wait for ever.
            self._lost(error)
            return
        if self._closed:
            connection.close()
            return
        connection.pgconn.nonblocking = 1
        self._connection = connection
        self._socket = connection.fileno()
        self._loop.add_reader(self._socket, self._readable, connection)
        if self._asked is not None:
            self._send(connection)

    def _connect_and_prepare(self) -> PatientConnection:
        connection = self._connect()
        # Prepared, a question costs the server half as much. A pooler could take it for another client's.
        self._is_prepared = connection.is_direct
        if self._is_prepared:
            with closed_on_error(connection):
                connection.execute(_PREPARE)
        return connection

    def _drop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._connection is not None:
            self._loop.remove_reader(self._socket)
            self._connection.close()
            self._connection = None
