"""Code that runs around every job."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from tidemill.context import JobContext
from tidemill.errors import AttemptError, TidemillError
from tidemill.jobs import Job, JobSpec, Outcome
from tidemill.texts import bounded, log_error, message_of, name_of

logger = logging.getLogger("tidemill")

_OUTWARD = ("after_job", "on_error", "on_cancel", "worker_stopped")


@dataclass(slots=True)
class Adding:
    """Jobs that an app adds in one statement."""

    specs: Sequence[JobSpec]
    trace: str | None = None
    """The trace context of those that name none: set it before they are added."""
    jobs: Sequence[Job] = ()
    """Once they are added: as they are in the database."""


class Middleware:
    """Hooks around jobs and workers; override what you need.

    They run on the worker's event loop, so they must be quick. An exception in a hook is logged
    and changes nothing else. Hooks that end something run in the reverse order of the middleware.

    `wrap` and `wrap_sync` are different: they run around the task where it runs, and what they raise or
    return counts as the task's own. `around_add` runs where jobs are added, and what it raises counts as the
    add's own. The first middleware is the outermost.
    """

    def worker_started(self, worker_id: str) -> None:
        """The worker is registered and about to claim jobs."""

    def worker_stopped(self, worker_id: str) -> None:
        """The worker has settled all jobs and is about to end."""

    def _worker_measured(
        self,
        worker_id: str,
        figures: Callable[[], Mapping[str, Any]],
        database: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        """Before `worker_started`: how to read what `tidemill.metrics.families` has. Thread-safe."""

    def before_job(self, job: JobContext) -> None:
        """An attempt is about to start."""

    def after_job(self, job: JobContext, seconds: float) -> None:
        """An attempt succeeded. Its completion is written within moments."""

    def on_error(self, job: JobContext, error: BaseException, seconds: float) -> None:
        """An attempt failed or timed out."""

    def on_cancel(self, job: JobContext, reason: str, seconds: float) -> None:
        """The job was cancelled during an attempt: by somebody else, or by its task."""

    async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
        """Runs an async task: `call()`, awaited once, returns its result or raises its error.

        The task sees the context variables that are set here. An attempt that is cancelled or out of time is
        cancelled in here, too, and the entries of a batch job run in here. What this returns is the task's
        result.
        """
        return await call()

    def wrap_sync(self, job: JobContext, call: Callable[[], Any]) -> Any:
        """Runs a plain function, in the thread in which it runs; else as `wrap`."""
        return call()

    def around_add(self, adding: Adding) -> AbstractContextManager[None]:
        """Is around each add by the app or its tasks: what is entered before it, and left after it.

        It may set `adding.trace` before, and see `adding.jobs` after.
        """
        return nullcontext()


def around_add(middleware: Sequence[Middleware], specs: Sequence[JobSpec]) -> AbstractContextManager[Adding]:
    """What is around an add of these jobs."""
    adding = Adding(specs)
    # Nearly always nobody is, and an add must not pay for it.
    if not middleware or not specs:
        return nullcontext(adding)
    hooks = [one.around_add for one in middleware if type(one).around_add is not Middleware.around_add]
    return _entered(hooks, adding) if hooks else nullcontext(adding)


@contextmanager
def _entered(
    hooks: Sequence[Callable[[Adding], AbstractContextManager[None]]], adding: Adding
) -> Iterator[Adding]:
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook(adding))
        yield adding


def _check_wrap(wrap: Callable[..., Any]) -> None:
    """Raises TidemillError for one that would not run where its task runs."""
    is_async = inspect.iscoroutinefunction(wrap)
    name = getattr(wrap, "__qualname__", repr(wrap))
    if wrap.__name__ == "wrap" and not is_async:
        raise TidemillError(
            f"{name} is around async tasks, so it must be `async def`, and await call(). For plain functions "
            "write `wrap_sync`."
        )
    if wrap.__name__ == "wrap_sync" and is_async:
        raise TidemillError(
            f"{name} is around plain functions, in their threads, so it must be `def`. For async tasks write "
            "`wrap`."
        )


class LogFailures(Middleware):
    """Tidemill's own log lines of attempts that did not end well; for the others see `DoneLog`."""

    def on_error(self, job: JobContext, error: BaseException, seconds: float) -> None:
        """Logs the failure, with a traceback if the task raised an exception of its own."""
        line = "job %s (%s) failed attempt %s of %s after %.0f ms: %s"
        values = (
            *(job.id, job.identifier, job.attempt, job.max_attempts, seconds * 1000),
            message_of(error) or name_of(error),
        )
        extra = {"duration_ms": round(seconds * 1000, 3)}
        if isinstance(error, Outcome):
            # The task asked for a retry, which is no error.
            job.logger.info(line, *values, extra=extra)
        elif isinstance(error, AttemptError):
            job.logger.error(line, *values, extra=extra)
        else:
            log_error(job.logger, error, line, *values, extra=extra)

    def on_cancel(self, job: JobContext, reason: str, seconds: float) -> None:
        """Logs why the attempt ended."""
        job.logger.info(
            "job %s (%s) ended attempt %s of %s after %.0f ms: %s",
            job.id,
            job.identifier,
            job.attempt,
            job.max_attempts,
            seconds * 1000,
            bounded(reason),
            extra={"duration_ms": round(seconds * 1000, 3)},
        )


class Hooks:
    """Calls a hook of every middleware, and logs the exceptions that it raises."""

    def __init__(self, middleware: list[Middleware]) -> None:
        self._inward = middleware
        self._outward = middleware[::-1]
        self.are_watching = any(
            (type(one).before_job, type(one).after_job) != (Middleware.before_job, Middleware.after_job)
            for one in middleware
        )
        """Whether any middleware has to be called for a job that succeeds."""
        self.are_measuring = any(
            type(one)._worker_measured is not Middleware._worker_measured for one in middleware
        )
        """Whether any middleware reads the worker's figures."""
        # The innermost first.
        self._wraps = [one.wrap for one in self._outward if type(one).wrap is not Middleware.wrap]
        self._sync_wraps = [
            one.wrap_sync for one in self._outward if type(one).wrap_sync is not Middleware.wrap_sync
        ]
        for wrap in (*self._wraps, *self._sync_wraps):
            _check_wrap(wrap)
        self.are_around = bool(self._wraps or self._sync_wraps)
        """Whether any middleware is around tasks."""

    def wrapped(
        self, call: Callable[..., Any], job: JobContext, *args: Any
    ) -> Callable[[], Coroutine[Any, Any, Any]]:
        """An async task's call with the `wrap` of every middleware around it."""
        inner: Callable[[], Coroutine[Any, Any, Any]] = partial(call, *args)
        for wrap in self._wraps:
            inner = partial(wrap, job, inner)
        return inner

    def wrapped_sync(self, call: Callable[..., Any], job: JobContext, *args: Any) -> Callable[[], Any]:
        """A plain function's call with the `wrap_sync` of every middleware around it."""
        inner: Callable[[], Any] = partial(call, *args)
        for wrap in self._sync_wraps:
            inner = partial(wrap, job, inner)
        return inner

    def call(self, name: str, *args: Any) -> None:
        """Calls the hook of that name."""
        for one in self._outward if name in _OUTWARD else self._inward:
            try:
                getattr(one, name)(*args)
            except BaseException as error:
                log_error(logger, error, "the hook %s of %s failed", name, type(one).__name__)
