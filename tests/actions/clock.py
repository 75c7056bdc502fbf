"""A worker's looks at actions, with the clock in the test's hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from tests.actions.support import SECOND


class Clock:
    """A worker's looks, each at a time that the test says."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def start(self, at: datetime, slots: int = 100, worker: str = "w") -> list[int]:
        """Starts what is due, and returns the runs."""
        self._connection.execute("select tidemill._skip_missed(%s)", [at])
        rows = self._connection.execute(
            "select run_id from tidemill._start_actions(%s, %s, %s)", [worker, slots, at]
        )
        return [run_id for (run_id,) in rows]

    def finish(self, run_id: int, outcome: str, at: datetime, **more: Any) -> tuple[Any, ...]:
        """Ends a run, and returns the outcome, the next start and why the action was paused."""
        row = self._connection.execute(
            "select recorded, nullif(next_start, 'infinity'), paused_because"
            " from tidemill._finish_run(%s, %s, %s, message => %s)",
            [run_id, outcome, at, more.get("message", "it failed")],
        ).fetchone()
        assert row is not None
        return row

    def run(self, at: datetime, outcome: str = "success", took: timedelta = SECOND) -> datetime:
        """Runs the one action that is due; returns its next start."""
        [run_id] = self.start(at)
        next_start = self.finish(run_id, outcome, at + took)[1]
        assert isinstance(next_start, datetime)
        return next_start

    def enqueue(self, at: datetime, most: int = 100) -> int:
        """Adds the jobs of what is due."""
        self._connection.execute("select tidemill._skip_missed(%s)", [at])
        [(taken,)] = self._connection.execute(
            "select tidemill._enqueue_actions(%s, %s)", [most, at]
        ).fetchall()
        return int(taken)
