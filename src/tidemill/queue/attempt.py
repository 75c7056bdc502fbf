"""Attempts: one start of a job, from its first step to how the job is settled."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from tidemill import forks
from tidemill.context import GivenBack, JobContext
from tidemill.database.lent import AnyLent, held_here
from tidemill.errors import JobTimeoutError
from tidemill.jobs import Cancel
from tidemill.queue.claimed import ClaimedJob
from tidemill.queue.loop_watch import seat_here
from tidemill.queue.outcome import check_result, failure
from tidemill.queue.record import encoded_result
from tidemill.queue.relay import Relay
from tidemill.queue.resume import Suspended, first_step
from tidemill.queue.setting import Setting
from tidemill.queue.settlement import Settlement
from tidemill.tasks import Task
from tidemill.texts import message_of


@dataclass(slots=True, eq=False)
class Attempt:
    """A job that did not end at once. Belongs to the event loop, and to the runner that began it."""

    job: ClaimedJob
    task: Task[Any]
    runner: asyncio.Task[None]
    setting: Setting
    made_context: JobContext | None = None
    result: Any = None
    """The result of its coroutine's first step; Suspended if it waits."""
    error: BaseException | None = None
    given_back: bool = False
    lapsed: bool = False
    """Its job's lease is over."""
    thread: asyncio.Future[Any] | None = None
    """Where a plain function runs; it may outlive the attempt."""
    held: set[AnyLent] = field(default_factory=held_here.get)
    """The connections that it holds."""
    is_over: bool = False
    relay: Relay | None = None
    """With it the thread goes on with further jobs; this attempt is then that of the present one."""
    is_told: bool = False
    """It has to stop, so its thread goes on with no other."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def begin(
        cls,
        job: ClaimedJob,
        task: Task[Any],
        runner: asyncio.Task[None],
        setting: Setting,
        watched: bool,
        around: bool,
    ) -> Attempt | None:
        """Takes a job's first step; returns the attempt if it has more steps, None if the job is done.

        `watched` and `around` are what the hooks say of themselves.
        """
        context: JobContext | None = None
        result: Any = None
        error: BaseException | None = None
        if watched or around or task.takes_job:
            context = setting.context(job, task)
            if watched:
                setting.hooks.call("before_job", context)
        if task.is_async:
            try:
                payload = task.decode(job.payload)
                if around and context is not None:
                    result = first_step(setting.wrapped(task, payload, context))
                elif task.takes_job:
                    result = first_step(task.call, payload, context)
                else:
                    result = first_step(task.call, payload)
            except BaseException as raised:
                # BaseException, because no error of a task may end the worker.
                error = raised
            if result is None and error is None and not watched:
                return None
        return cls(job, task, runner, setting, context, result, error)

    @property
    def context(self) -> JobContext:
        """What the task is handed; made on first use, since most attempts succeed without it."""
        if self.made_context is None:
            self.made_context = self.setting.context(self.job, self.task)
        return self.made_context

    def cancel(self, reasons: Mapping[int, str]) -> int | None:
        """Asks the task to stop if its job is among these; returns the job's id then."""
        with self._lock:
            # Its thread may go on with another job until now.
            job_id = self.job.id
            if job_id in reasons:
                told, self.is_told = self.is_told, True
        if job_id not in reasons:
            return None
        if not told:
            self._ask_to_stop(reasons[job_id])
        return job_id

    def _ask_to_stop(self, reason: str = "") -> None:
        """An async task is cancelled, a plain function is told."""
        self.context._stop_for(GivenBack() if self.lapsed else Cancel(reason))
        self._tell()
        if self.task.is_async:
            self.runner.cancel()

    def abandon(self) -> None:
        """Stops the attempt, and has its job given back."""
        self.given_back = True
        with self._lock:
            # Its thread goes on with no other job from here on.
            self.is_told = True
        self.context._stop_for(GivenBack())
        if not self.task.is_async:
            self.context._leave()
        self._tell()
        self.runner.cancel()

    def lapse(self) -> None:
        """Asks the task to stop, since its job may run elsewhere; one that fails now is given back."""
        with self._lock:
            told, self.is_told, self.lapsed = self.is_told, True, True
        if not told:
            self._ask_to_stop()
        else:
            self.context._stop_for(GivenBack())

    def _tell(self) -> None:
        """Tells the task that it has to stop. If it goes on waiting for the database, that wait is cut."""
        with self._lock:
            self.is_told = True
        self.context._cancel()
        self.setting.cutter.add(self)

    def has_ended(self) -> bool:
        """Whether nothing of it runs any longer."""
        if self.thread is None or self.thread.done():
            return self.is_over
        # Without its event loop nobody is told of the thread's end.
        return self.thread.get_loop().is_closed() and not self.held

    async def finish(self) -> None:
        """Waits for the task; raises its error, or the outcome that its result stands for."""
        if not self.task.is_async:
            # It may outlive the attempt, and must not share what it holds with the runner's next one.
            self.held = set()
            token = held_here.set(self.held)
            try:
                await self._finish_in_time()
            finally:
                held_here.reset(token)
            return
        if self.task.timeout is not None:
            await self._finish_in_time()
            return
        # Most jobs take this way, which costs less.
        result = self.result
        if type(result) is Suspended:
            result = await result
        if result is not None:
            await self._check(result)

    async def _check(self, result: Any) -> None:
        """Raises what a result stands for; keeps it where it is to be kept."""
        result = await check_result(result, self.job.payload, self.context)
        if self.task.keep_result:
            self.job.result = encoded_result(self.task, result)

    async def _finish_in_time(self) -> None:
        timeout = self.task.timeout
        timer: asyncio.TimerHandle | None = None
        if timeout is not None:
            # Before the limit cancels it, so that middleware around it knows why.
            timer = asyncio.get_running_loop().call_later(timeout, self._be_late)
        try:
            async with asyncio.timeout(timeout) as limit:
                result = self.result
                if not self.task.is_async:
                    result = await self._call_in_thread()
                elif type(result) is Suspended:
                    result = await result
                await self._check(result)
        except TimeoutError:
            if not limit.expired():
                # The task itself raised this one.
                raise
            self._tell()
            raise self._timeout() from None
        finally:
            if timer is not None:
                timer.cancel()

    def _timeout(self) -> JobTimeoutError:
        return JobTimeoutError(f"Timed out after {self.task.timeout:g} s")

    def _be_late(self) -> None:
        """Its time is over."""
        if not (self.task.is_async and self.context.cancelled):
            self.context._stop_for(self._timeout())
        # A connection whose server is silent does not let go of a coroutine that is cancelled.
        self.setting.cutter.add(self)

    async def _call_in_thread(self) -> Any:
        self.thread = self.setting.threads.run(self._work)
        try:
            await asyncio.wait([self.thread])
        except asyncio.CancelledError:
            # The function cannot be stopped: we only stop waiting for it.
            self.context._leave()
            raise
        if self.relay is not None:
            # What follows is about the last job of the thread.
            held_here.set(self.held)
            seat_here.get().job = self.job
        result = self.thread.result()
        return await result if inspect.isawaitable(result) else result

    def _work(self) -> Any:
        """Calls the function, and those of further jobs while it may; returns the last one's result."""
        process = os.getpid()
        while True:
            # What a job sets in it, others do not see.
            result = copy_context().run(self._call)
            if os.getpid() != process:
                # This is a child that the task forked: it must not become a second worker.
                forks.end_child()
            if result is not None or not self._go_on():
                return result

    def _call(self) -> Any:
        held_here.set(self.held)
        payload = self.task.decode(self.job.payload)
        if self.setting.hooks.are_around:
            return self.setting.wrapped_sync(self.task, payload, self.context)()
        return self.task.call(payload, self.context) if self.task.takes_job else self.task.call(payload)

    def _go_on(self) -> bool:
        with self._lock:
            following = None if self.relay is None or self.is_told else self.relay.next(self.job)
            if following is None:
                return False
            self.job, self.task = following
            self.held = set()
            needed = self.task.takes_job or self.setting.hooks.are_around
            self.made_context = self.setting.context(*following) if needed else None
            return True

    def part(self) -> None:
        """From here on the thread, if it still runs, goes on with no other job, and settles none."""
        with self._lock:
            self.relay = None

    def settlement(self, error: BaseException | None, elapsed: float, *, stopping: bool) -> Settlement | None:
        """How to settle the job after the attempt's end; None for a success. Calls the hooks."""
        self.is_over = True
        job, hooks = self.job, self.setting.hooks
        if error is None:
            if hooks.are_watching:
                hooks.call("after_job", self.context, elapsed)
            return None
        context = self.context
        if self.runner.cancelling():
            # While stopping, a cancellation that is not ours means that the event loop is being torn down.
            self.given_back = self.given_back or (stopping and not context.cancelled)
        if self.given_back:
            context.logger.warning("job %s (%s) is given back unfinished", job.id, job.identifier)
            return Settlement.of(job, "returned")
        if self.lapsed:
            # One line has told of all of them.
            return Settlement.of(job, "returned")
        error = context._end(error) or error
        if isinstance(error, Cancel):
            hooks.call("on_cancel", context, message_of(error), elapsed)
        else:
            hooks.call("on_error", context, error, elapsed)
        return failure(job, self.task, context, error, self.setting.keeper.report(job, error, elapsed))

    @property
    def is_outlived(self) -> bool:
        """Whether its plain function is still running."""
        return self.thread is not None and not self.thread.done() and not self.given_back

    async def outlive(self) -> None:
        """Waits for a plain function that is still running although its attempt is over."""
        assert self.thread is not None
        job, log = self.job, self.context.logger
        log.warning("job %s (%s) does not stop; its slot is taken until it does", job.id, job.identifier)
        # Only a stop that gives up on it ends this wait early.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self.thread])
            log.info("job %s (%s) has stopped at last", job.id, job.identifier)
