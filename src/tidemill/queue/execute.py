"""Executing: claimed jobs run on the event loop, and say how they ended."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tidemill.errors import AttemptError, BatchError, JobCancelledError, JobTimeoutError
from tidemill.jobs import Cancel, JobContext, Outcome, Retry
from tidemill.middleware import Hooks
from tidemill.queue.claim import ClaimedJob, Unit
from tidemill.queue.complete import Settlement
from tidemill.queue.threads import Threads
from tidemill.retry import seconds
from tidemill.tasks import Task

if TYPE_CHECKING:
    from tidemill.app import App

logger = logging.getLogger("tidemill")

_LONGEST_ERROR = 10_000
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
        self._runners: set[asyncio.Task[None]] = set()
        self._attempts: dict[int, _Attempt] = {}
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
        while self._waiting:
            self._give_back(self._waiting.popleft())
        self._start_waiting()

    def cancel(self, job_ids: list[int]) -> None:
        """Stops these jobs if they run here: async tasks are cancelled, plain ones told."""
        for job_id in job_ids:
            attempt = self._attempts.get(job_id)
            if attempt is not None and not attempt.context.cancelled:
                attempt.context._cancelled.set()
                if attempt.task.is_async:
                    attempt.runner.cancel()

    def abandon(self) -> None:
        """Stops every running job and gives it back."""
        for attempt in self._attempts.values():
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
            runner = asyncio.get_running_loop().create_task(self._run_unit(self._waiting.popleft()))
            self._runners.add(runner)
            runner.add_done_callback(self._ended)
        if not self._runners and not self._waiting:
            self._idle.set()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled() and runner.exception() is not None:
            logger.error("a job runner broke", exc_info=runner.exception())
        self._start_waiting()

    def _give_back(self, unit: Unit) -> None:
        for job in unit:
            self._settle(Settlement("returned", job.id, job.token, job.identifier))
        self._free_queue(unit)

    def _free_queue(self, unit: Unit) -> None:
        if unit and unit[0].queue_id is not None:
            self._settle(Settlement("queue", unit[0].queue_id, unit[0].token))

    async def _run_unit(self, unit: Unit) -> None:
        runner = asyncio.current_task()
        assert runner is not None
        rest = list(unit)
        try:
            while rest and not self._stopping:
                job = rest.pop(0)
                attempt = self._begin(job, runner)
                try:
                    self._settle(await self._settlement(attempt))
                finally:
                    del self._attempts[job.id]
                if attempt.thread is not None and not attempt.thread.done() and not attempt.given_back:
                    # Its slot and its named queue stay taken until the function really ends.
                    await asyncio.wait([attempt.thread])
        finally:
            for job in rest:
                self._settle(Settlement("returned", job.id, job.token, job.identifier))
            self._free_queue(unit)

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
            logger=logging.LoggerAdapter(
                logger, {"job_id": job.id, "task": job.identifier, "attempt": job.attempt}
            ),
        )
        attempt = self._attempts[job.id] = _Attempt(job, task, context, runner)
        return attempt

    async def _settlement(self, attempt: _Attempt) -> Settlement:
        """Runs an attempt and says how it ended. Raises nothing but what ends the process."""
        job, context = attempt.job, attempt.context
        self._hooks.call("before_job", context)
        started = time.perf_counter()
        error: BaseException
        try:
            await self._call(attempt)
        except asyncio.CancelledError as cancelled:
            attempt.runner.uncancel()
            error = cancelled
        except (Exception, SystemExit) as raised:
            error = raised
        else:
            elapsed = self._measure(started)
            self._hooks.call("after_job", context, elapsed)
            return Settlement("done", job.id, job.token, job.identifier)

        elapsed = self._measure(started)
        if attempt.given_back:
            context.logger.warning("job %s (%s) is given back unfinished", job.id, job.identifier)
            return Settlement("returned", job.id, job.token, job.identifier)
        if isinstance(error, asyncio.CancelledError | JobCancelledError):
            error = Cancel("Cancelled")
        self._hooks.call("on_error", context, error, elapsed)
        delay, permanent = _next_attempt(attempt.task, context, error)
        return Settlement(
            "failed",
            job.id,
            job.token,
            job.identifier,
            message=describe(error),
            delay=delay,
            permanent=permanent,
            payload=error.payload if isinstance(error, BatchError) else None,
        )

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
                    result = await task.function(*args)
                else:
                    attempt.thread = self._threads.run(task.function, *args)
                    # Shielded: the function cannot be stopped, only told and no longer waited for.
                    result = await asyncio.shield(attempt.thread)
                if isinstance(result, Outcome):
                    raise result
                if isinstance(result, list):
                    await _check_batch(result, attempt.job, context)
        except TimeoutError:
            if not limit.expired():
                raise
            context._cancelled.set()
            raise JobTimeoutError(f"Timed out after {task.timeout:g} s") from None


def _next_attempt(task: Task[Any], context: JobContext, error: BaseException) -> tuple[float | None, bool]:
    """The wait before the next attempt (None: the default backoff), and whether there is none."""
    if isinstance(error, Cancel) or context.is_last_attempt:
        return None, True
    if isinstance(error, Retry):
        return seconds(error.delay), False
    if task.retry is None:
        return None, False
    try:
        delay = task.retry(context.attempt)
        return (None, True) if delay is None else (seconds(delay), False)
    except Exception:
        logger.exception("the retry strategy of task %s failed; the default one is used", task.identifier)
        return None, False


async def _check_batch(results: list[Any], job: ClaimedJob, context: JobContext) -> None:
    """Awaits the entries that a batch job returned; raises BatchError for those that failed."""
    if not job.payload.lstrip().startswith("["):
        return
    payloads = msgspec.json.decode(job.payload, type=list[msgspec.Raw])
    if len(results) != len(payloads):
        context.logger.warning(
            "job %s returned %s results for a batch of %s; they are ignored, and the job is done",
            job.id,
            len(results),
            len(payloads),
        )
        return
    waiting = [index for index, result in enumerate(results) if inspect.isawaitable(result)]
    awaited = await asyncio.gather(*(results[index] for index in waiting), return_exceptions=True)
    results = list(results)
    for index, result in zip(waiting, awaited, strict=True):
        results[index] = result
    failed = [index for index, result in enumerate(results) if isinstance(result, BaseException)]
    if failed:
        rest = msgspec.json.encode([payloads[index] for index in failed]).decode()
        raise BatchError([results[index] for index in failed], rest)


def describe(error: BaseException) -> str:
    """What `last_error` says: the error's own words, after its type where those are Python's."""
    text = str(error)
    if not isinstance(error, Outcome | AttemptError) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    # PostgreSQL's text holds neither NUL nor half of a surrogate pair.
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 4] + " ..."
