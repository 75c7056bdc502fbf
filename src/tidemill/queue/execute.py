"""Executing: claimed jobs run on the event loop, and say how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.context import JobContext, JobLogger, Producer
from tidemill.database.times import moment
from tidemill.errors import JobTimeoutError
from tidemill.middleware import Hooks
from tidemill.queue.batch import Batch, Hand, Leases
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.complete import Settlement
from tidemill.queue.durations import Durations
from tidemill.queue.outcome import check_result, failure, failure_of_ours, meaning
from tidemill.queue.resume import Suspended, first_step
from tidemill.queue.threads import Threads
from tidemill.tasks import Task

logger = logging.getLogger("tidemill")

# The event loop has other work too: jobs that never wait let it have its turn this often.
_TURN_SECONDS = 0.005
# Of jobs that end at once, only those that took longer say anything of their task.
_NOTABLE_SECONDS = 0.001


@dataclass(slots=True, eq=False)
class _Attempt:
    """A job that did not end at once."""

    job: ClaimedJob
    task: Task[Any]
    runner: asyncio.Task[None]
    make_context: Callable[[ClaimedJob, Task[Any]], JobContext]
    result: Any = None
    """What the first step of its coroutine came to; Suspended if it waits."""
    error: BaseException | None = None
    given_back: bool = False
    thread: asyncio.Future[Any] | None = None
    """Where a plain function runs; it may outlive the attempt."""
    made_context: JobContext | None = None

    @property
    def context(self) -> JobContext:
        """What the task is handed; made when first asked for, since most attempts end well and unseen."""
        if self.made_context is None:
            self.made_context = self.make_context(self.job, self.task)
        return self.made_context


class Executor:
    """Runs jobs, at most `concurrency` at once. All methods belong to the event loop.

    Its runners take one job after the other. A coroutine that never waits costs
    no turn of the event loop; as soon as one waits, the next runner goes on.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[Any]],
        producer: Producer,
        worker_id: str,
        concurrency: int,
        hooks: Hooks,
        settle: Callable[[Settlement], None],
    ) -> None:
        self._tasks = dict(tasks)
        self._producer = producer
        self._worker_id = worker_id
        self._concurrency = concurrency
        self._hooks = hooks
        self._threads = Threads()
        self._leases = Leases(settle)
        self._batches: deque[Batch] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._attempts: set[_Attempt] = set()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.durations = Durations()
        self.batches_taken = 0
        """How many batches were ever taken: a count that stands still tells of a blocked event loop."""

    @property
    def free_slots(self) -> int:
        """How many more jobs could run at once."""
        return self._concurrency - len(self._attempts)

    def submit(self, jobs: list[ClaimedJob]) -> None:
        """Takes leased jobs."""
        self._leases.add(jobs)
        self._start()

    def submit_batch(self, batch: Batch) -> None:
        """Takes a batch."""
        self.batches_taken += 1
        self._batches.append(batch)
        self._start()

    def stop(self) -> None:
        """Starts nothing more, and gives back what has not started."""
        self._stopping = True
        self._leases.close()

    def give_back_waiting(self) -> None:
        """Gives back leased jobs that have not started."""
        self._leases.give_back()

    def cancel(self, job_ids: list[int]) -> None:
        """Stops these jobs if they run here: async tasks are cancelled, plain ones told."""
        for attempt in self._attempts:
            if attempt.job.id in job_ids and not attempt.context.cancelled:
                attempt.context._cancelled.set()
                if attempt.task.is_async:
                    attempt.runner.cancel()

    def abandon(self) -> None:
        """Stops every running job and gives it back."""
        for attempt in self._attempts:
            attempt.given_back = True
            attempt.context._cancelled.set()
            attempt.runner.cancel()

    async def wait_idle(self) -> None:
        """Returns once nothing runs or waits."""
        await self._idle.wait()

    def close(self) -> None:
        """Ends the idle threads."""
        self._threads.close()

    def _start(self) -> None:
        """Starts a runner if there is something to run and all others wait; it does so before it waits."""
        while self._batches and not self._batches[0].has_waiting:
            self._batches.popleft()
        waiting = bool(self._leases or self._batches)
        if waiting and len(self._attempts) == len(self._runners) < self._concurrency:
            runner = asyncio.get_running_loop().create_task(self._run())
            self._runners.add(runner)
            self._idle.clear()
            runner.add_done_callback(self._ended)
        elif not waiting and not self._runners:
            self._idle.set()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled() and (error := runner.exception()) is not None:
            logger.error("a runner of jobs broke", exc_info=error)
        self._start()

    def _take(self) -> tuple[Hand, ClaimedJob] | None:
        job = self._leases.take()
        if job is not None:
            return self._leases, job
        while self._batches:
            batch = self._batches[0]
            job = None if self._stopping else batch.take()
            if job is not None:
                return batch, job
            self._batches.popleft()
        return None

    async def _run(self) -> None:
        runner = asyncio.current_task()
        assert runner is not None
        clock = time.perf_counter
        watched = self._hooks.are_watching
        started = clock()
        turn_ends = started + _TURN_SECONDS
        while (taken := self._take()) is not None:
            hand: Hand = taken[0]
            job: ClaimedJob | None = taken[1]
            while job is not None:
                attempt = self._begin(job, runner, watched)
                if attempt is None:
                    now = clock()
                    if hand is self._leases or now - started > _NOTABLE_SECONDS:
                        self.durations.add(job.identifier, now - started, leased=hand is self._leases)
                    job = hand.done(job)
                else:
                    job = await self._go_on(attempt, hand, started)
                    now = clock()
                    if type(attempt.result) is Suspended:
                        # Others had their turn while it waited.
                        turn_ends = now + _TURN_SECONDS
                started = now
                if now > turn_ends or runner.cancelling():
                    await _turn(runner)
                    watched = self._hooks.are_watching
                    started = clock()
                    turn_ends = started + _TURN_SECONDS

    def _begin(self, job: ClaimedJob, runner: asyncio.Task[None], watched: bool) -> _Attempt | None:
        """Begins a job; returns what is left to be done for it, None if it is done."""
        task = self._tasks[job.identifier]
        context: JobContext | None = None
        result: Any = None
        error: BaseException | None = None
        if watched or task.takes_job or not task.is_async:
            context = self._context(job, task)
            if watched:
                self._hooks.call("before_job", context)
        if task.is_async:
            try:
                payload = task.decode(job.payload)
                if task.takes_job:
                    result = first_step(task.function, payload, context)
                else:
                    result = first_step(task.function, payload)
            except BaseException as raised:
                # Also what is no Exception: nothing that a task raises may end the worker.
                error = raised
            if result is None and error is None and not watched:
                return None
        attempt = _Attempt(job, task, runner, self._context, result, error)
        attempt.made_context = context
        return attempt

    async def _go_on(self, attempt: _Attempt, hand: Hand, started: float) -> ClaimedJob | None:
        """Brings an attempt to its end; returns the job to start next."""
        job = attempt.job
        try:
            settlement = await self._finish(attempt, started)
        except BaseException as broken:
            logger.error("the runner of job %s broke", job.id, exc_info=broken)
            settlement = failure_of_ours(job, broken)
        elapsed = time.perf_counter() - started
        self.durations.add(job.identifier, elapsed, leased=hand is self._leases)
        if settlement is None:
            return hand.done(job)
        hand.end(job, settlement)
        if attempt.thread is not None:
            if attempt.runner.cancelling():
                await _turn(attempt.runner)
            # Its slot and its named queue stay taken until a plain function really ends.
            await self._outlive(attempt, attempt.thread)
        return hand.next(job)

    async def _finish(self, attempt: _Attempt, started: float) -> Settlement | None:
        """Brings an attempt to its end. Raises nothing but what ends the process."""
        error = attempt.error
        if error is None:
            self._attempts.add(attempt)
            # The next runner: this one may have to wait now.
            self._start()
            try:
                if not attempt.task.is_async or attempt.task.timeout is not None:
                    await self._limited(attempt)
                else:
                    # Most jobs come this way.
                    result = attempt.result
                    if type(result) is Suspended:
                        result = await result
                    if result is not None:
                        await check_result(result, attempt.job.payload, attempt.context)
            except BaseException as raised:
                error = raised
            self._attempts.discard(attempt)
        if error is None and not self._hooks.are_watching and not attempt.runner.cancelling():
            return None
        job, context = attempt.job, attempt.context
        elapsed = time.perf_counter() - started
        if attempt.runner.cancelling():
            # If neither we nor the task's own code did this, the event loop is being torn down.
            attempt.given_back = attempt.given_back or (self._stopping and not context.cancelled)
        if error is None:
            self._hooks.call("after_job", context, elapsed)
            return None
        if attempt.given_back:
            context.logger.warning("job %s (%s) is given back unfinished", job.id, job.identifier)
            return Settlement("returned", job.id, job.token, job.identifier)
        error = meaning(error, context)
        self._hooks.call("on_error", context, error, elapsed)
        return failure(job, attempt.task, context, error)

    async def _limited(self, attempt: _Attempt) -> None:
        """Waits for what a task does within its time limit; raises what its result stands for."""
        timeout = attempt.task.timeout
        try:
            async with asyncio.timeout(timeout) as limit:
                result = attempt.result
                if not attempt.task.is_async:
                    result = await self._plain_result(attempt)
                elif type(result) is Suspended:
                    result = await result
                await check_result(result, attempt.job.payload, attempt.context)
        except TimeoutError:
            if not limit.expired():
                raise
            attempt.context._cancelled.set()
            raise JobTimeoutError(f"Timed out after {timeout:g} s") from None

    async def _plain_result(self, attempt: _Attempt) -> Any:
        task, job = attempt.task, attempt.job
        payload = task.decode(job.payload)
        args = (payload, attempt.context) if task.takes_job else (payload,)
        attempt.thread = self._threads.run(task.function, *args)
        # The function cannot be stopped, only told and no longer waited for.
        await asyncio.wait([attempt.thread])
        result = attempt.thread.result()
        return await result if inspect.isawaitable(result) else result

    async def _outlive(self, attempt: _Attempt, thread: asyncio.Future[Any]) -> None:
        """Waits for a plain function that goes on although its attempt is over."""
        if thread.done() or attempt.given_back:
            return
        job, log = attempt.job, attempt.context.logger
        log.warning("job %s (%s) does not stop; its slot is taken until it does", job.id, job.identifier)
        self._attempts.add(attempt)
        try:
            await asyncio.wait([thread])
            log.info("job %s (%s) has stopped at last", job.id, job.identifier)
        except asyncio.CancelledError:
            attempt.given_back = True
        self._attempts.discard(attempt)

    def _context(self, job: ClaimedJob, task: Task[Any]) -> JobContext:
        return JobContext(
            app=self._producer,
            id=job.id,
            identifier=job.identifier,
            attempt=job.attempt,
            max_attempts=min(job.max_attempts, task.max_attempts or job.max_attempts),
            queue_name=job.queue_name,
            key=job.key,
            priority=job.priority,
            run_at=moment(job.run_at),
            created_at=moment(job.created_at),
            revision=job.revision,
            flags=job.flags or [],
            raw_payload=job.payload,
            worker_id=self._worker_id,
            logger=JobLogger(logger, {"job_id": job.id, "task": job.identifier, "attempt": job.attempt}),
        )


async def _turn(runner: asyncio.Task[None]) -> None:
    """Lets others have a turn. A cancellation that the last job has left behind ends here."""
    # It is the runner's own: whoever cancels a job cancels it while the job runs.
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    while runner.cancelling():
        runner.uncancel()
