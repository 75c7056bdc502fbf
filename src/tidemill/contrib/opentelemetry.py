"""OpenTelemetry: a span around each run of a job. Needs `pip install 'tidemill[opentelemetry]'`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

from opentelemetry import trace

from tidemill.context import JobContext
from tidemill.jobs import Outcome
from tidemill.middleware import Middleware


class Traces(Middleware):
    """Middleware: a span around each attempt, which the spans that its task makes are in.

    tracer_provider  where the spans go; default: the global one
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("tidemill", version("tidemill"), tracer_provider)

    async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
        """Runs an async task in a span."""
        with self._span(job) as span:
            return _noted(span, await call())

    def wrap_sync(self, job: JobContext, call: Callable[[], Any]) -> Any:
        """Runs a plain function in a span."""
        with self._span(job) as span:
            return _noted(span, call())

    def _span(self, job: JobContext) -> AbstractContextManager[trace.Span]:
        """One that records an exception and counts as failed if the task raises."""
        attributes: dict[str, str | int] = {
            "messaging.system": "tidemill",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.identifier,
            "messaging.message.id": str(job.id),
            "tidemill.attempt": job.attempt,
            "tidemill.worker": job.worker_id,
        }
        if job.queue_name is not None:
            attributes["tidemill.queue"] = job.queue_name
        return self._tracer.start_as_current_span(
            f"process {job.identifier}", kind=trace.SpanKind.CONSUMER, attributes=attributes
        )


def _noted(span: trace.Span, result: Any) -> Any:
    """The result; one that asks for a retry or a cancel is an attribute of the span."""
    if isinstance(result, Outcome):
        span.set_attribute("tidemill.outcome", type(result).__name__.lower())
    return result
