"""A runner: takes one job after the other, and stops only for those that wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

from tidemill.queue.attempt import Attempt
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.done_log import SLOW_SECONDS, DoneLog
from tidemill.queue.durations import Durations
from tidemill.queue.hands import Hand, LeasedHand
from tidemill.queue.loop_watch import Seat
from tidemill.queue.own_lease import Term
from tidemill.queue.own_lease import now as time_of_leases
from tidemill.queue.setting import Setting
from tidemill.queue.settlement import Settlement
from tidemill.queue.streaks import Streak, Streaks
from tidemill.tallies import FIRST_BUCKET

# The event loop has other work, too: jobs that never wait give it a turn this often.
_TURN_SECONDS = 0.005
# Express jobs that end sooner are not measured: their task is known to be quick.
_NOTABLE_SECONDS = 0.001


class Stock(Protocol):
    """The jobs in hand, of all runners; nothing changes while a runner does not wait."""

    term: Term
    """The term in which the last ones were claimed."""
    cancelled: set[int]
    """Those that must not start."""
    leased: LeasedHand

    def take(self) -> tuple[Hand, ClaimedJob] | None:
        """The next job to start, and the hand that it comes from."""

    def check_term(self) -> None:
        """Once the term is over, gives back what has not started, and stops what runs."""


class Runner:
    """Made within the asyncio task that is to run the jobs. Belongs to the event loop."""

    def __init__(
        self,
        stock: Stock,
        setting: Setting,
        seat: Seat,
        *,
        streaks: Streaks,
        durations: Durations,
        done_log: DoneLog,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._stock = stock
        self._setting = setting
        self._seat = seat
        self._streaks = streaks
        self._durations = durations
        self._done_log = done_log
        self.is_logged = done_log.is_on()
        """Whether anybody reads of jobs that ended well."""
        self.hand: Hand = stock.leased
        """Where the last job came from."""
        self.job: ClaimedJob | None = None
        """The job to start next; None: whichever is next in hand."""
        self.started = time.perf_counter()
        """When the last attempt began, or when it ended, if it has."""
        self._turn_ends = self.started + _TURN_SECONDS

    def run(self) -> Attempt | None:
        """Runs jobs until one has to wait, and returns its attempt; None: there are none, or `needs_turn`."""
        # What stands in the loop is done for each job, 100,000 times a second: so it reads no attributes
        # and makes no calls that can be spared.
        stock, setting, streaks, task = self._stock, self._setting, self._streaks, self._task
        take, leased, cancelled, term = stock.take, stock.leased, stock.cancelled, stock.term
        clock, begin, cancelling = time.perf_counter, Attempt.begin, task.cancelling
        watched, around = setting.hooks.are_watching, setting.hooks.are_around
        keeper, keeps, logged = setting.keeper, setting.keeper.is_on, self.is_logged
        seat, turn_ends = self._seat, self._turn_ends
        hand, job, started = self.hand, self.job, self.started
        streak: Streak | None = None
        identifier = ""
        jobs, run_ats, longest, began = 0, 0, 0.0, started
        try:
            while True:
                if job is None:
                    taken = take()
                    if taken is None:
                        return None
                    if taken[0] is not hand:
                        if streak is not None:
                            self._count(streak, hand, jobs, run_ats, longest, started - began)
                            jobs, run_ats, longest, began = 0, 0, 0.0, started
                        hand = taken[0]
                    job = taken[1]
                if time_of_leases() >= term.deadline or job.id in cancelled:
                    # This process may have stood still since the last line: it runs elsewhere by now.
                    stock.check_term()
                    cancelled.discard(job.id)
                    hand.end(job, Settlement.of(job, "returned"))
                    job = hand.next(job)
                    continue
                seat.job = job
                if streak is None or job.identifier != identifier:
                    if streak is not None:
                        self._count(streak, hand, jobs, run_ats, longest, started - began)
                        jobs, run_ats, longest, began = 0, 0, 0.0, started
                    identifier = job.identifier
                    streak = streaks.of(identifier)
                attempt = begin(job, streak.task, task, setting, watched, around)
                if attempt is not None:
                    return attempt
                now = clock()
                elapsed = now - started
                run_at = job.run_at
                jobs += 1
                run_ats += run_at
                if elapsed > longest:
                    longest = elapsed
                if elapsed >= FIRST_BUCKET:
                    streaks.ran_long(streak, elapsed)
                if run_at < streak.earliest or run_at > streak.latest:
                    streaks.waited(streak, run_at, started, streak.jobs + jobs)
                if elapsed > _NOTABLE_SECONDS and hand is not leased:
                    self._durations.add(identifier, elapsed, leased=False)
                if logged and (not streak.counts or elapsed >= SLOW_SECONDS):
                    streaks.log(streak, job, elapsed)
                if keeps or job.keep:
                    keeper.note(job, elapsed)
                job = hand.done(job)
                started = now
                if now > turn_ends or cancelling():
                    return None
        finally:
            self.hand, self.job, self.started = hand, job, started
            if streak is not None:
                self._count(streak, hand, jobs, run_ats, longest, started - began)
            streaks.end(started)

    def _count(self, streak: Streak, hand: Hand, jobs: int, run_ats: int, longest: float, ran: float) -> None:
        """Counts jobs of one task and hand that have ended; there may be none."""
        if not jobs:
            return
        streak.add(jobs, run_ats, longest, ran)
        if hand is self._stock.leased:
            self._durations.add_streak(streak.tally.identifier, ran, jobs)

    def went_on(self, job: ClaimedJob | None, *, waited: bool) -> None:
        """The attempt has ended, and this job is next. `waited`: the event loop had its turn meanwhile."""
        self.job = job
        self.started = time.perf_counter()
        if waited:
            self._turn_ends = self.started + _TURN_SECONDS

    @property
    def needs_turn(self) -> bool:
        """Whether the event loop has to have its turn."""
        return self.started > self._turn_ends or self._task.cancelling() > 0

    async def turn(self) -> None:
        """Gives the event loop its turn."""
        await turn(self._task)
        self.is_logged = self._done_log.is_on()
        self.started = time.perf_counter()
        self._turn_ends = self.started + _TURN_SECONDS


async def turn(runner: asyncio.Task[None]) -> None:
    """Gives the event loop a turn, and drops a cancellation that the last job left behind."""
    # Such a cancellation is not meant for the next job: a job is cancelled only while it runs.
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    while runner.cancelling():
        runner.uncancel()
