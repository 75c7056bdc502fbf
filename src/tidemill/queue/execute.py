"""Executing: runs claimed jobs on the event loop, several at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from tidemill.context import Board
from tidemill.database.lent import held_here
from tidemill.middleware import Hooks
from tidemill.producers import Producer
from tidemill.queue.attempt import Attempt
from tidemill.queue.batch import Batch
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.cutter import Cutter
from tidemill.queue.done_log import DoneLog
from tidemill.queue.durations import Durations
from tidemill.queue.hands import Hand, LeasedHand
from tidemill.queue.loop_watch import Seat, seat_here
from tidemill.queue.outcome import failure_of_ours
from tidemill.queue.own_lease import Term
from tidemill.queue.record import Keeper
from tidemill.queue.relay import News, Relay, is_for_threads
from tidemill.queue.resume import Suspended
from tidemill.queue.runner import Runner, turn
from tidemill.queue.setting import Setting
from tidemill.queue.settlement import Settle, Settlement
from tidemill.queue.starts import Starts
from tidemill.queue.streaks import Streaks
from tidemill.queue.threads import Threads
from tidemill.tallies import Tallies
from tidemill.tasks import Task

logger = logging.getLogger("tidemill")

# A thread whose job has not changed for so long may wait for something.
_STUCK_SECONDS = 0.005


class Executor:
    """Runs jobs, at most `concurrency` at once. All methods belong to the event loop.

    Its runners take one job after the other. A coroutine that never waits costs
    no turn of the event loop; as soon as one waits, the next runner starts.
    `settle` is told how leased jobs ended, `starts` which of those claimed ahead start, and
    `durations` how long jobs took, `done_log` which ended well, `tallies` all that ended. Jobs tell `board`
    of their progress. What is in hand when the term of its claim is over does not start.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[Any]],
        producer: Producer,
        worker_id: str,
        *,
        concurrency: int,
        hooks: Hooks,
        settle: Settle,
        starts: Starts,
        durations: Durations,
        done_log: DoneLog,
        keeper: Keeper,
        tallies: Tallies,
        board: Board | None = None,
    ) -> None:
        self._tasks = dict(tasks)
        self._concurrency = concurrency
        self._setting = Setting(producer, worker_id, hooks, Threads(), Cutter(), keeper, board)
        self._starts = starts
        self._batches: list[Batch] = []
        self._attempts: set[Attempt] = set()
        # Claimed ahead, or on their way here.
        self.cancelled: set[int] = set()
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        in_loop = self._loop.call_soon_threadsafe
        self.leased = LeasedHand(settle, starts.ask, concurrency, self._start, in_loop)
        self.term = Term()
        self._term_check: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.runners: dict[asyncio.Task[None], Seat] = {}
        """The runners that run, and where each notes its job."""
        self.durations = durations
        self.tallies = tallies
        self._done_log = done_log
        self._streaks = Streaks(self._tasks, tallies, done_log)
        self.batches_taken = 0
        """How many batches were taken so far; while a job blocks the event loop, this stands still."""

    @property
    def free_slots(self) -> int:
        """How many more jobs could run at once."""
        return self._concurrency - len(self._attempts)

    def submit(self, jobs: list[ClaimedJob], term: Term) -> None:
        """Takes jobs that were leased in this term."""
        self._enter(term)
        self.leased.add(jobs)
        self._start()
        self._watch_term()

    def submit_batch(self, batch: Batch, term: Term) -> None:
        """Takes a batch that was claimed in this term."""
        self._enter(term)
        self.batches_taken += 1
        if self._stopping:
            batch.stop()
        self._batches = [*(one for one in self._batches if one.is_open), batch]
        self._start()
        self._watch_term()

    def check_term(self) -> None:
        """Once the term is over, gives back what has not started, and stops what runs."""
        if not self.term.is_over:
            return
        self.term.tell()
        self.leased.give_back()
        for batch in self._batches:
            batch.stop()
        for attempt in self._attempts:
            attempt.lapse()

    def _enter(self, term: Term) -> None:
        if term is not self.term:
            self.check_term()
            self.term = term

    def _watch_term(self) -> None:
        """Sees the end of the term, even if all other threads wait for the database."""
        if self._term_check is None and not self.term.is_over:
            self._term_check = self._loop.call_later(self.term.left, self._on_term_check)

    def _on_term_check(self) -> None:
        self._term_check = None
        self.check_term()
        self._watch_term()

    def stop(self) -> None:
        """Starts no more jobs, and gives back leased ones that have not started."""
        self._stopping = True
        self.leased.close()
        for batch in self._batches:
            batch.stop()

    def cancel(self, reasons: Mapping[int, str]) -> None:
        """Stops these jobs: async tasks are cancelled, plain functions are told, others do not start."""
        self.cancelled = set(reasons)
        for attempt in self._attempts:
            cancelled = attempt.cancel(reasons)
            if cancelled is not None:
                self.cancelled.discard(cancelled)

    def abandon(self) -> None:
        """Stops every running job and gives it back."""
        for attempt in self._attempts:
            attempt.abandon()

    async def wait_idle(self) -> None:
        """Returns once no job is running or waiting."""
        await self._idle.wait()

    def close(self) -> None:
        """Ends the idle threads, and the connection."""
        if self._term_check is not None:
            self._term_check.cancel()
        self._setting.threads.close()
        self._starts.close()
        self._done_log.close()

    def _start(self) -> None:
        """Starts a runner if jobs wait and all runners are waiting; a runner calls this before it waits."""
        waiting = bool(self.leased) or any(batch.has_waiting for batch in self._batches)
        if waiting and len(self._attempts) == len(self.runners) < self._concurrency:
            seat = Seat()
            runner = asyncio.get_running_loop().create_task(self._run(seat))
            self.runners[runner] = seat
            self._idle.clear()
            runner.add_done_callback(self._ended)
        elif not waiting and not self.runners:
            self._idle.set()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        del self.runners[runner]
        if not runner.cancelled() and (error := runner.exception()) is not None:
            logger.error("a runner of jobs broke", exc_info=error)
        self._start()

    def take(self) -> tuple[Hand, ClaimedJob] | None:
        """The next job to start, and the hand that it comes from; None if there is none."""
        job = self.leased.take()
        if job is not None:
            return self.leased, job
        for batch in self._batches:
            job = batch.take()
            if job is not None:
                return batch, job
        return None

    async def _run(self, seat: Seat) -> None:
        """One runner: takes a job, runs it, tells its hand how it ended, takes the next."""
        seat_here.set(seat)
        held_here.set(set())
        runner = Runner(
            self,
            self._setting,
            seat,
            streaks=self._streaks,
            durations=self.durations,
            done_log=self._done_log,
        )
        while (attempt := runner.run()) is not None or runner.needs_turn:
            if attempt is not None:
                job = await self._go_on(attempt, runner)
                runner.went_on(job, waited=type(attempt.result) is Suspended)
            if runner.needs_turn:
                await runner.turn()

    async def _go_on(self, attempt: Attempt, runner: Runner) -> ClaimedJob | None:
        """Brings an attempt to its end; returns the job to start next."""
        hand, started = runner.hand, runner.started
        relay: Relay | None = None
        if is_for_threads(attempt.task) and not self._setting.hooks.are_watching:
            relay = attempt.relay = Relay(
                hand, self._tasks, started, self._may_start, self._ended_well, self._setting.keeper
            )
        try:
            settlement = await self._finish(attempt, started)
        except BaseException as broken:
            logger.error("the runner of job %s broke", attempt.job.id, exc_info=broken)
            settlement = failure_of_ours(attempt.job, broken)
        if relay is not None:
            relay.tell()
            if relay.is_settled:
                return self._left_of(relay, attempt)
            started = relay.began
        job = attempt.job
        elapsed = time.perf_counter() - started
        self.durations.add(job.identifier, elapsed, leased=hand is self.leased)
        self._count(job, settlement, started, elapsed)
        if settlement is None:
            if runner.is_logged:
                self._done_log.add(job, elapsed)
            self._setting.keeper.note(job, elapsed)
            return hand.done(job)
        hand.end(job, settlement)
        if attempt.thread is not None:
            if attempt.runner.cancelling():
                await turn(attempt.runner)
            if attempt.is_outlived:
                # A plain function keeps its slot and its named queue until it really ends.
                self._attempts.add(attempt)
                await attempt.outlive()
                self._attempts.discard(attempt)
        return hand.next(job)

    def _count(self, job: ClaimedJob, settlement: Settlement | None, started: float, elapsed: float) -> None:
        """Counts an attempt that has ended; one that is given back has not."""
        if settlement is not None and settlement.kind == "returned":
            return
        tally = self.tallies.of(job.identifier)
        tally.ended(elapsed, started - job.run_at * 1e-6 + self.tallies.clock)
        if settlement is None:
            tally.done += 1
        elif settlement.cancelled:
            tally.cancelled += 1
        else:
            tally.failed += 1
            tally.retried += not settlement.permanent

    async def _finish(self, attempt: Attempt, started: float) -> Settlement | None:
        """Waits for an attempt's end; returns how to settle its job, None for a success."""
        error = attempt.error
        if error is None:
            self._attempts.add(attempt)
            if attempt.relay is not None and self.durations.is_instant(attempt.job.identifier):
                # To start a thread for the next job would take longer than to wait for this one.
                self._loop.call_later(_STUCK_SECONDS, self._look_after, attempt, attempt.job)
            else:
                # Start the next runner, because this one may have to wait now.
                self._start()
            relay = attempt.relay
            try:
                await attempt.finish()
            except BaseException as raised:
                error = raised
            self._attempts.discard(attempt)
            if relay is not None:
                attempt.part()
                if relay.is_settled:
                    attempt.is_over = True
                    return None
                started = relay.began
        return attempt.settlement(error, time.perf_counter() - started, stopping=self._stopping)

    # Threads that go on by themselves

    def _may_start(self, job: ClaimedJob) -> bool:
        """Thread-safe."""
        return not self.term.is_over and job.id not in self.cancelled

    def _ended_well(self, hand: Hand, news: News) -> None:
        """Of threads that go on by themselves."""
        leased, logged, streaks = hand is self.leased, self._done_log.is_on(), self._streaks
        ended = 0.0
        while news:
            job, began, seconds = news.popleft()
            self.durations.add(job.identifier, seconds, leased=leased)
            streaks.add(job, began, seconds, logged)
            ended = began + seconds
        streaks.end(ended)

    def _look_after(self, attempt: Attempt, seen: ClaimedJob) -> None:
        """Starts a further runner once a thread does not get on."""
        if attempt not in self._attempts:
            return
        job = attempt.job
        if job is seen or not self.durations.is_instant(job.identifier):
            self._start()
        else:
            self._loop.call_later(_STUCK_SECONDS, self._look_after, attempt, job)

    def _left_of(self, relay: Relay, attempt: Attempt) -> ClaimedJob | None:
        """The job that a thread has left to the event loop."""
        job = relay.left
        if job is not None and attempt.given_back:
            relay.hand.end(job, Settlement.of(job, "returned"))
            return relay.hand.next(job)
        return job
