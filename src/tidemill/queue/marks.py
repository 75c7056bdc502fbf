"""Low-water marks: where the next scan for jobs begins, so that it does not walk over dead rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.laps import Lap
from tidemill.times import moment

Place = tuple[datetime, int]
"""A job's place in claim order among those of its priority: run_at, id."""

# The next search has to wait for so many times the duration of the last one.
_RATION = 10
# Marks stay this far behind the time of a scan, so that jobs of shorter transactions appear after them.
_SLACK = timedelta(milliseconds=100)
_MOST_PRIORITIES = 100
# Priorities are smallint; a search begins behind a priority.
_BEFORE_ALL = -(2**15) - 1
# A search from the marks that takes longer had to begin too early.
_DEAR_SECONDS = 0.01


class Ration:
    """Limits an expensive search: after it comes a pause of ten times its duration, or a `share` of that."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share
        self._at = 0.0
        self._asked = True

    @property
    def next(self) -> float | None:
        """When a search that was asked for may be made; None if none was."""
        return self._at if self._asked else None

    @property
    def paused_until(self) -> float:
        """Until when none is allowed."""
        return self._at

    @property
    def allows(self) -> bool:
        """Whether a search may be made now."""
        return time.monotonic() >= self._at

    def ask(self, *, at_once: bool = False) -> None:
        """Asks for a search as soon as it is allowed, or `at_once`."""
        self._asked = True
        if at_once:
            self._at = 0.0

    def spent_with(self, other: Ration) -> None:
        """Counts the other's last search as one of its own."""
        self._at = max(self._at, other._at)
        self._asked = other._asked

    def spend(self, seconds: float) -> None:
        """Counts a search that took so long."""
        self._at = time.monotonic() + _RATION * self._share * seconds
        self._asked = False


class Marks:
    """For each priority, the place before which everything was seen.

    Later, jobs of long transactions and jobs that others gave back appear behind a mark, and
    others at a priority without one. Notifications lower marks, and full searches find the rest.
    """

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self.full_searches = Ration()
        self.levels = Lap(_BEFORE_ALL)
        """The priority behind which the next full search looks for jobs without a mark."""
        self.hints = Ration()
        """Limits what notifications may cost that name places: see `lower`."""

    def knows(self, priority: int) -> bool:
        """Whether a job of this priority was found lately."""
        return priority in self._places

    def ask(self, *, at_once: bool = False) -> None:
        """Asks for a full search, as `Ration.ask` does."""
        self.levels.ask()
        self.full_searches.ask(at_once=at_once)

    def forget(self) -> None:
        """Forgets what was seen, and asks for a full search at once."""
        self._places.clear()
        self.ask(at_once=True)

    def adopt(self, other: Marks) -> None:
        """Takes over what the other has seen: until now it looked for these jobs, too."""
        self._places = dict(other._places)
        self.full_searches.spent_with(other.full_searches)

    def meet(self, other: Marks) -> None:
        """Keeps in both what both have seen: from now on each looks for jobs that were the other's."""
        both = self._places.keys() & other._places.keys()
        self._places = {priority: min(self._places[priority], other._places[priority]) for priority in both}
        other._places = dict(self._places)
        for marks in (self, other):
            marks.ask()

    def lower(self, priority: int, place: Place) -> None:
        """Lowers the mark for a job that is, or may again be, at this place."""
        run_at, job_id = place
        # No mark lies in the future: jobs that will come before it have not been seen.
        before = min((run_at, job_id - 1), (datetime.now(UTC) - _SLACK, 0))
        self._places[priority] = min(before, self._places.get(priority, before))

    def places(self, *, thorough: bool, told: bool) -> tuple[list[int], list[datetime], list[int]] | None:
        """The marks, as `known`; None for a full search."""
        if thorough or (self.full_searches.allows and not told):
            if thorough:
                self.levels.restart()
            return None
        return self.known

    @property
    def known(self) -> tuple[list[int], list[datetime], list[int]]:
        """The marks in order of priority."""
        priorities = sorted(self._places)
        places = [self._places[priority] for priority in priorities]
        return priorities, [run_at for run_at, _ in places], [job_id for _, job_id in places]

    def scanned(
        self,
        jobs: Sequence[ClaimedJob],
        *,
        full: bool,
        filled: bool,
        until: datetime,
        seconds: float,
        last_level: int | None = None,
    ) -> None:
        """Moves the marks after a scan up to `until` found these jobs.

        `filled`: it stopped with enough; `last_level`: where a full one stopped, having seen many levels.
        """
        last = jobs[-1].priority if filled else None
        seen = (until - _SLACK, 0)
        # Priorities before that of the last job were scanned to their end.
        for priority in self._places.keys() | {job.priority for job in jobs}:
            if last is None or priority < last:
                self._places[priority] = seen
        if filled:
            self._places[jobs[-1].priority] = (moment(jobs[-1].run_at), jobs[-1].id)
        many = len(self._places) > _MOST_PRIORITIES
        if many:
            self._places.clear()
        if full:
            self._searched_fully(filled, many, seconds, last_level)
        elif seconds > _DEAR_SECONDS and not filled:
            self.hints.spend(seconds)

    def _searched_fully(self, filled: bool, many: bool, seconds: float, last_level: int | None) -> None:
        self.full_searches.spend(seconds)
        if filled:
            self.levels.restart()
            if many:
                # No marks lead on from here, and the jobs that were found are worth the search.
                self.full_searches.ask(at_once=True)
            return
        self.levels.went(_BEFORE_ALL if last_level is None else last_level)
        if not self.levels.is_over:
            self.full_searches.ask()
