"""What a worker writes down of its tasks when it starts: their limits, and how long history is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

from tidemill.complaints import Complaints
from tidemill.database.words import in_short
from tidemill.queue.arrays import array
from tidemill.queue.declared_limits import declare_limits
from tidemill.queue.record import Keeper
from tidemill.tasks import Task

logger = logging.getLogger("tidemill")

# With a heartbeat: it must not hold the next one up.
_GATING_SECONDS = 1.0


class Declarations:
    """Writes them when the worker starts; what other transactions hold up is tried again with each heartbeat.

    A producer that adds the first job of a task, and leaves its transaction open, keeps others from writing
    the task's row. The worker starts all the same; `hold_back` is told the tasks whose limit is not written
    yet: their jobs would run without it. It is called whenever these have changed, with none in the end.
    """

    def __init__(
        self, tasks: Mapping[str, Task[Any]], keeper: Keeper, hold_back: Callable[[Collection[str]], None]
    ) -> None:
        self._tasks = tasks
        self._keeper = keeper
        self._hold_back = hold_back
        self._undeclared: Mapping[str, Task[Any]] = tasks
        self._held: frozenset[str] = frozenset()
        self._keeps_wait = True
        self._complaints = Complaints(logger)

    def begin(self, connection: psycopg.Connection) -> Collection[int]:
        """Writes all; returns the keeps that have partitions for history now.

        Raises TaskLoadError for a limit that is refused, and psycopg.Error.
        """
        self._declare_limits(connection)
        self._declare_keeps(connection)
        return () if self._keeps_wait else set(self._keeper.keeps.values())

    def go_on(self, connection: psycopg.Connection) -> None:
        """Writes what is left. Raises TaskLoadError for a limit that is refused, and psycopg.Error."""
        if self._undeclared:
            self._declare_limits(connection, gating_seconds=_GATING_SECONDS)
        if self._keeps_wait:
            self._declare_keeps(connection)

    def _declare_limits(self, connection: psycopg.Connection, **options: float) -> None:
        waiting = declare_limits(connection, self._undeclared, **options)
        self._undeclared = {name: self._tasks[name] for name in waiting}
        held = frozenset(name for name in waiting if self._tasks[name].limit is not None)
        for name in sorted(held - self._held):
            logger.warning(
                "task %s: its limit cannot be written down while another transaction is open, and none of "
                "its jobs starts here before; it is tried again with each heartbeat. %s",
                name,
                waiting[name],
            )
        if held != self._held:
            self._held = held
            self._hold_back(held)

    def _declare_keeps(self, connection: psycopg.Connection) -> None:
        keeper = self._keeper
        try:
            connection.execute(
                "select tidemill._declare_keeps(%s::pg_catalog.text[], %s::smallint[], %s::boolean[])",
                [list(keeper.keeps), array(keeper.keeps.values()), list(keeper.with_payloads.values())],
            )
        except (LockNotAvailable, DeadlockDetected) as error:
            self._complaints.warn(
                "keeps",
                "how long history is kept cannot be written down while another transaction is open, "
                "and is tried again with each heartbeat: %s",
                in_short(error),
            )
        else:
            self._keeps_wait = False
