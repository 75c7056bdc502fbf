"""Low-water marks: where the next scan for jobs begins, so that no claim walks the dead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tidemill.database.times import moment
from tidemill.queue.claimed import ClaimedJob

Place = tuple[datetime, int]
"""A job's place in claim order among those of its priority: run_at, id."""

# A search may follow the last one after so many times its duration.
_RATION = 10
# Transactions that add jobs and are shorter than this are never behind a mark when they commit.
_SLACK = timedelta(milliseconds=100)
_MOST_LEVELS = 100


class Ration:
    """When an expensive search may be made again: at most a tenth of the time goes into it."""

    def __init__(self) -> None:
        self._at = 0.0
        self._asked = True

    @property
    def next(self) -> float | None:
        """When the search that was asked for may be made; None if none was."""
        return self._at if self._asked else None

    @property
    def allows(self) -> bool:
        """Whether it may be made now."""
        return time.monotonic() >= self._at

    def ask(self, *, at_once: bool = False) -> None:
        """Asks for a search as soon as it is allowed, or `at_once`."""
        self._asked = True
        if at_once:
            self._at = 0.0

    def spent_with(self, other: Ration) -> None:
        """The other's last search was one for this as well."""
        self._at = max(self._at, other._at)
        self._asked = other._asked

    def spend(self, seconds: float) -> None:
        """A search was made, and took so long."""
        self._at = time.monotonic() + _RATION * seconds
        self._asked = False


class Marks:
    """For each priority, the place before which everything was seen.

    Behind a mark may appear more urgent jobs, jobs of long transactions, and jobs
    that others gave back: notifications lower the mark, and full scans find the rest.
    """

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self.full_scans = Ration()

    def forget(self) -> None:
        """What was seen counts no longer."""
        self._places.clear()
        self.full_scans.ask(at_once=True)

    def adopt(self, other: Marks) -> None:
        """What the other has seen is what this one would have: it looked for all of these jobs until now."""
        self._places = dict(other._places)
        self.full_scans.spent_with(other.full_scans)

    def meet(self, other: Marks) -> None:
        """From now on each looks for jobs that were the other's: what both have seen still counts."""
        both = self._places.keys() & other._places.keys()
        self._places = {level: min(self._places[level], other._places[level]) for level in both}
        other._places = dict(self._places)
        for marks in (self, other):
            marks.full_scans.ask()

    def lower(self, priority: int, place: Place) -> None:
        """A job is at this place, or may be there again."""
        run_at, job_id = place
        # For one that is due later, begin where a scan would have ended now.
        before = min((run_at, job_id - 1), (datetime.now(UTC) - _SLACK, 0))
        self._places[priority] = min(before, self._places.get(priority, before))

    def places(self, *, thorough: bool, told: bool) -> tuple[list[int], list[datetime], list[int]] | None:
        """The marks in the order of their priorities; None for a full scan."""
        if thorough or (self.full_scans.allows and not told):
            return None
        levels = sorted(self._places)
        places = [self._places[level] for level in levels]
        return levels, [run_at for run_at, _ in places], [job_id for _, job_id in places]

    def scanned(
        self, jobs: Sequence[ClaimedJob], *, full: bool, filled: bool, until: datetime, seconds: float
    ) -> None:
        """A scan up to the time `until` found these jobs, in claim order; `filled`: and then had enough."""
        last = jobs[-1].priority if filled else None
        seen = (until - _SLACK, 0)
        for level in self._places.keys() | {job.priority for job in jobs}:
            if last is None or level < last:
                self._places[level] = seen
        if filled:
            self._places[jobs[-1].priority] = (moment(jobs[-1].run_at), jobs[-1].id)
        if len(self._places) > _MOST_LEVELS:
            self._places.clear()
        if full:
            self.full_scans.spend(seconds)
