"""Code that runs around every job."""

from __future__ import annotations

import logging
from typing import Any

from tidemill.context import JobContext
from tidemill.errors import AttemptError
from tidemill.jobs import Outcome
from tidemill.texts import bounded, log_error, message_of, name_of

logger = logging.getLogger("tidemill")

_OUTWARD = ("after_job", "on_error", "on_cancel", "worker_stopped")


class Middleware:
    """Hooks around jobs and workers; override what you need.

    They run on the worker's event loop, so they must be quick. An exception in a hook is logged
    and changes nothing else. Hooks that end something run in the reverse order of the middleware.
    """

    def worker_started(self, worker_id: str) -> None:
        """The worker is registered and about to claim jobs."""

    def worker_stopped(self, worker_id: str) -> None:
        """The worker has settled all jobs and is about to end."""

    def before_job(self, job: JobContext) -> None:
        """An attempt is about to start."""

    def after_job(self, job: JobContext, seconds: float) -> None:
        """An attempt succeeded. Its completion is written within moments."""

    def on_error(self, job: JobContext, error: BaseException, seconds: float) -> None:
        """An attempt failed or timed out."""

    def on_cancel(self, job: JobContext, reason: str, seconds: float) -> None:
        """The job was cancelled during an attempt: by somebody else, or by its task."""


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

    def call(self, name: str, *args: Any) -> None:
        """Calls the hook of that name."""
        for one in self._outward if name in _OUTWARD else self._inward:
            try:
                getattr(one, name)(*args)
            except BaseException as error:
                log_error(logger, error, "the hook %s of %s failed", name, type(one).__name__)
