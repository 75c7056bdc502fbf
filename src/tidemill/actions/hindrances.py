"""Runs that could not begin: they are given back, until that counts as a failure."""

from __future__ import annotations

from tidemill.actions.runner import Ending, Run

_MOST_IN_A_ROW = 5


class Hindrances:
    """Counts, for each action, its runs in a row that could not begin although there was a connection."""

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
