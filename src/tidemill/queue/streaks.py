"""Streaks: jobs of a runner that end at once, many of them a millisecond, are counted together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.done_log import NO_COUNT, SLOW_SECONDS, DoneLog
from tidemill.tallies import BUCKETS, FIRST_BUCKET, LONGEST_WAIT, Tallies, Tally, bucket
from tidemill.tasks import Task

_FIRST_MICROSECONDS = int(FIRST_BUCKET * 1e6)
_LONGEST_MICROSECONDS = int(LONGEST_WAIT * 1e6)


class Streak:
    """The jobs of one task that have ended at once since the runner let others have their turn."""

    __slots__ = (
        "began",
        "bucket",
        "bucketed",
        "count",
        "counts",
        "earliest",
        "jobs",
        "latest",
        "longest",
        "ran",
        "run_ats",
        "slow",
        "tally",
        "task",
        "told",
        "told_ran",
    )

    def __init__(self, task: Task[Any], tally: Tally) -> None:
        self.task = task
        self.tally = tally
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self.jobs = 0
        self.ran = 0.0
        """How long they ran, in sum; in seconds, as all but what begins with `run_at` and `began`."""
        self.longest = 0.0
        self.slow = 0
        """How many ran longer than the first bucket has; these are counted already."""
        self.run_ats = 0
        self.earliest, self.latest = 1, 0
        """The run_at of jobs whose waiting times are in the bucket of the last one's."""
        self.began = 0
        """When the first one began, in the database's microseconds since 2000."""
        self.bucket = self.bucketed = 0
        """That bucket, and how many jobs are counted in theirs."""
        self.count, self.counts = NO_COUNT, False
        """Whether a job that is not slow needs no line of its own in the log: then it only counts there."""
        self.told, self.told_ran = 0, 0.0
        """Those that had a line, or were counted there."""

    def add(self, jobs: int, run_ats: int, longest: float, ran: float) -> None:
        """Adds jobs that have ended: see `run_ats`, `longest` and `ran`."""
        self.jobs += jobs
        self.run_ats += run_ats
        self.longest = max(self.longest, longest)
        self.ran += ran


class Streaks:
    """The streaks of all runners, by task: each ends before its runner lets others have their turn."""

    def __init__(self, tasks: Mapping[str, Task[Any]], tallies: Tallies, done_log: DoneLog) -> None:
        self._tasks = tasks
        self._tallies = tallies
        self._done_log = done_log
        self._streaks: dict[str, Streak] = {}
        self._begun: list[Streak] = []

    def of(self, identifier: str) -> Streak:
        """The streak of a task."""
        streak = self._streaks.get(identifier)
        if streak is None:
            streak = self._streaks[identifier] = Streak(self._tasks[identifier], self._tallies.of(identifier))
        return streak

    def add(self, job: ClaimedJob, began: float, seconds: float, logged: bool) -> None:
        """Adds a job that has ended. A runner does the same by itself, without a call for each job."""
        streak = self.of(job.identifier)
        streak.add(1, job.run_at, seconds, seconds)
        if seconds >= FIRST_BUCKET:
            self.ran_long(streak, seconds)
        if job.run_at < streak.earliest or job.run_at > streak.latest:
            self.waited(streak, job.run_at, began, streak.jobs)
        if logged and (not streak.counts or seconds >= SLOW_SECONDS):
            self.log(streak, job, seconds)

    def waited(self, streak: Streak, run_at: int, started: float, number: int) -> None:
        """The last job is the first one, or its waiting time is in another bucket than the one before.

        number  of this job in its streak, from 1 on
        """
        before = number - 1
        if not before:
            self._begun.append(streak)
            streak.began = int((started + self._tallies.clock) * 1e6)
        streak.tally.waits[streak.bucket] += before - streak.bucketed
        streak.bucketed = before
        # They follow so closely that all count as begun with the first one.
        streak.bucket = place = bucket((streak.began - run_at) * 1e-6)
        longer = _FIRST_MICROSECONDS << place
        oldest = streak.began - _LONGEST_MICROSECONDS
        streak.earliest = streak.began - longer + 1 if place < BUCKETS - 1 else oldest
        if run_at < oldest:
            # It is in the sum as it is.
            streak.run_ats += oldest - run_at
        streak.latest = streak.began - longer // 2 if place else 2**63

    def ran_long(self, streak: Streak, seconds: float) -> None:
        """The last job took longer than the first bucket has."""
        streak.tally.runs[bucket(seconds)] += 1
        streak.slow += 1

    def log(self, streak: Streak, job: ClaimedJob, seconds: float) -> None:
        """Logs the last job, or counts it for the log."""
        streak.told += 1
        streak.told_ran += seconds
        count = self._done_log.add(job, seconds)
        if seconds < SLOW_SECONDS:
            streak.count, streak.counts = count, count.only_counts

    def end(self, now: float) -> None:
        """Counts all of them: for the runner before it lets others have their turn."""
        for streak in self._begun:
            tally, jobs = streak.tally, streak.jobs
            tally.done += jobs
            tally.run_seconds += streak.ran
            tally.note_longest(streak.longest)
            tally.runs[0] += jobs - streak.slow
            tally.waits[streak.bucket] += jobs - streak.bucketed
            ended = (now + self._tallies.clock) * 1e6
            tally.wait_seconds += max(0.0, ((streak.began + ended) / 2 * jobs - streak.run_ats) * 1e-6)
            if streak.counts:
                streak.count.jobs += jobs - streak.told
                streak.count.seconds += streak.ran - streak.told_ran
            streak.reset()
        self._begun.clear()
