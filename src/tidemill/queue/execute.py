"""Executing: claimed jobs run on the event loop, and say how they ended."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.errors import JobTimeoutError
from tidemill.jobs import JobContext, JobLogger
from tidemill.middleware import Hooks
from tidemill.queue.claim import ClaimedJob, Unit
from tidemill.queue.complete import Settlement
from tidemill.queue.outcome import check_result, failure, failure_of_ours, meaning
from tidemill.queue.threads import Threads
from tidemill.tasks import Task

if TYPE_CHECKING:
    from tidemill.app import App

logger = logging.getLogger("tidemill")

# Weight of the newest attempt in the moving average of durations.
_NEWEST = 0.05


@dataclass(slots=True, eq=False)
class _Attempt:
    """A job that runs now."""

    job: ClaimedJob
    task: Task[Any]
    context: JobContext
    runner: asyncio.Task[None]
    given_back: bool = False
    thread: asyncio.Future[Any] | None = None
    """Where a plain function runs; it may outlive the attempt."""


class Executor:
    """Runs units of jobs, at most `concurrency` at once. All methods belong to the event loop."""

    def __init__(
        self,
        app: App,
        worker_id: str,
        concurrency: int,
        hooks: Hooks,
        settle: Callable[[Settlement], None],
    ) -> None:
        self._app = app
        self._worker_id = worker_id
        self._concurrency = concurrency
        self._hooks = hooks
        self._settle = settle
        self._threads = Threads()
        self._waiting: deque[Unit] = deque()
        # What each runner has not settled yet.
        self._runners: dict[asyncio.Task[None], tuple[Unit, deque[ClaimedJob]]] = {}
        self._attempts: set[_Attempt] = set()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.mean_seconds: float | None = None
        """Moving average of how long attempts take; the engine sizes its claims by it."""

    def submit(self, units: list[Unit]) -> None:
        """Takes claimed jobs."""
        self._waiting.extend(units)
        self._idle.clear()
        self._start_waiting()

    def stop(self) -> None:
        """Starts nothing more, and gives back what has not started."""
        self._stopping = True
        self.give_back_waiting()

    def give_back_waiting(self) -> None:
        """Gives back what has not started."""
        while self._waiting:
            unit = self._waiting.popleft()
            self._give_back(unit, unit)
        self._start_waiting()

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

    def _start_waiting(self) -> None:
        while self._waiting and len(self._runners) < self._concurrency:
            unit = self._waiting.popleft()
            rest = deque(unit)
            runner = asyncio.get_running_loop().create_task(self._run_unit(unit, rest))
            self._runners[runner] = (unit, rest)
            runner.add_done_callback(self._ended)
        if not self._runners and not self._waiting:
            self._idle.set()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        unit, rest = self._runners.pop(runner)
        broken = None if runner.cancelled() else runner.exception()
        if runner.cancelled() or broken is not None:
            # Cancelled before it began, or a fault of ours: its jobs must not stay in our hand.
            self._attempts = {attempt for attempt in self._attempts if attempt.runner is not runner}
            if broken is not None and rest:
                logger.error("the runner of job %s broke", rest[0].id, exc_info=broken)
                job = rest.popleft()
                self._settle(failure_of_ours(job, broken))
            self._give_back(unit, rest)
        self._start_waiting()

    def _give_back(self, unit: Unit, rest: Iterable[ClaimedJob]) -> None:
        """Gives back the rest of a unit, and its named queue if it has one."""
        for job in rest:
            self._settle(Settlement("returned", job.id, job.token, job.identifier))
        if unit[0].queue_id is not None:
            self._settle(Settlement("queue", unit[0].queue_id, unit[0].token))

    async def _run_unit(self, unit: Unit, rest: deque[ClaimedJob]) -> None:
        runner = asyncio.current_task()
        assert runner is not None
        while rest and not self._stopping:
            attempt = self._begin(rest[0], runner)
            self._attempts.add(attempt)
            self._settle(await self._settlement(attempt))
            rest.popleft()
            # Its slot and its named queue stay taken until a plain function really ends.
            await self._outlive(attempt)
            self._attempts.discard(attempt)
            if attempt.given_back:
                break
        self._give_back(unit, rest)

    async def _outlive(self, attempt: _Attempt) -> None:
        """Waits for a plain function that goes on although its attempt is over."""
        if attempt.thread is None or attempt.thread.done() or attempt.given_back:
            return
        job, log = attempt.job, attempt.context.logger
        log.warning("job %s (%s) does not stop; its slot is taken until it does", job.id, job.identifier)
        try:
            await asyncio.wait([attempt.thread])
            log.info("job %s (%s) has stopped at last", job.id, job.identifier)
        except asyncio.CancelledError:
            attempt.given_back = True

    def _begin(self, job: ClaimedJob, runner: asyncio.Task[None]) -> _Attempt:
        task = self._app.tasks[job.identifier]
        context = JobContext(
            app=self._app,
            id=job.id,
            identifier=job.identifier,
            attempt=job.attempt,
            max_attempts=min(job.max_attempts, task.max_attempts or job.max_attempts),
            queue_name=job.queue_name,
            key=job.key,
            priority=job.priority,
            run_at=job.run_at,
            created_at=job.created_at,
            revision=job.revision,
            flags=job.flags,
            raw_payload=job.payload,
            worker_id=self._worker_id,
            logger=JobLogger(logger, {"job_id": job.id, "task": job.identifier, "attempt": job.attempt}),
        )
        return _Attempt(job, task, context, runner)

    async def _settlement(self, attempt: _Attempt) -> Settlement:
        """Runs an attempt and says how it ended. Raises nothing but what ends the process."""
        job, context = attempt.job, attempt.context
        self._hooks.call("before_job", context)
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            await self._call(attempt)
        except BaseException as raised:
            # Also what is no Exception: nothing that a task raises may end the worker.
            error = raised
        elapsed = self._measure(started)
        if attempt.runner.cancelling():
            # If neither we nor the task's own code did this, the event loop is being torn down.
            attempt.given_back = attempt.given_back or (self._stopping and not context.cancelled)
            while attempt.runner.uncancel():
                pass
        if error is None:
            self._hooks.call("after_job", context, elapsed)
            return Settlement("done", job.id, job.token, job.identifier)
        if attempt.given_back:
            context.logger.warning("job %s (%s) is given back unfinished", job.id, job.identifier)
            return Settlement("returned", job.id, job.token, job.identifier)
        error = meaning(error, context)
        self._hooks.call("on_error", context, error, elapsed)
        return failure(job, attempt.task, context, error)

    def _measure(self, started: float) -> float:
        elapsed = time.perf_counter() - started
        mean = elapsed if self.mean_seconds is None else self.mean_seconds
        self.mean_seconds = mean + _NEWEST * (elapsed - mean)
        return elapsed

    async def _call(self, attempt: _Attempt) -> None:
        task, context = attempt.task, attempt.context
        payload = task.decode(attempt.job.payload)
        args = (payload, context) if task.takes_job else (payload,)
        try:
            async with asyncio.timeout(task.timeout) as limit:
                if task.is_async:
                    result = task.function(*args)
                else:
                    attempt.thread = self._threads.run(task.function, *args)
                    # The function cannot be stopped, only told and no longer waited for.
                    await asyncio.wait([attempt.thread])
                    result = attempt.thread.result()
                if inspect.isawaitable(result):
                    result = await result
                await check_result(result, attempt.job.payload, context)
        except TimeoutError:
            if not limit.expired():
                raise
            context._cancelled.set()
            raise JobTimeoutError(f"Timed out after {task.timeout:g} s") from None
