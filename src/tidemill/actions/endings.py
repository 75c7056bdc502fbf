"""How runs end: recording it, and those that could not begin."""

from __future__ import annotations

import logging
import time

import psycopg

from tidemill.actions.runner import Ending, Run
from tidemill.database.sql import query

logger = logging.getLogger("tidemill")

_MOST_IN_A_ROW = 5


def record_end(connection: psycopg.Connection, run: Run, ending: Ending) -> None:
    """Records how a run ended, and says it in the log. Raises psycopg.Error: try again."""
    try:
        row = connection.execute(query("finish_run"), vars(ending)).fetchone()
    except (psycopg.DataError, UnicodeError):
        # A text that this database cannot hold.
        row = connection.execute(query("finish_run"), vars(ending.in_ascii())).fetchone()
    started = run.started
    name = f"action {started.action_id} ({started.application_name})"
    if row is None:
        logger.warning("%s: its end had already been recorded: run %s", name, started.run_id)
        return
    outcome, deleted, paused_because = row
    took = (time.monotonic() - run.began) * 1000
    if outcome == "success":
        logger.info("%s done in %.0f ms", name, took)
    else:
        logger.error("%s: %s after %.0f ms: %s", name, outcome, took, (ending.message or "")[:1000])
    if deleted:
        logger.warning("%s was deleted while it ran", name)
    if paused_because is not None:
        logger.warning("%s %s", name, paused_because)


class Hindrances:
    """Counts, for each action, its runs in a row that could not begin although there was a connection.

    They are given back, until that counts as a failure.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[int, int] = {}

    def ending(self, run: Run) -> Ending | None:
        """What to record of a run that did not begin; None if it is to be given back."""
        enough = self._in_a_row.get(run.started.action_id, 0) + 1 >= _MOST_IN_A_ROW
        return run.hindrance if enough else None

    def note(self, run: Run, *, given_back: bool) -> None:
        """Notes what became of a run."""
        action_id = run.started.action_id
        if not given_back:
            self._in_a_row.pop(action_id, None)
        elif run.hindrance is not None:
            self._in_a_row[action_id] = self._in_a_row.get(action_id, 0) + 1
