"""Spans around runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.running import run_all
from tidemill import App, Retry
from tidemill.contrib.opentelemetry import Traces

pytestmark = pytest.mark.versions(18)


async def test_spans(database: str) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = App(database, middleware=[Traces(provider)])
    tracer = provider.get_tracer("test")

    @app.task
    async def works(payload: Any) -> None:
        await asyncio.sleep(0)
        with tracer.start_as_current_span("inside"):
            await asyncio.sleep(0)

    @app.task(max_attempts=1)
    def breaks(payload: Any) -> None:
        with tracer.start_as_current_span("inside, too"):
            raise KeyError("gone")

    @app.task
    async def again(payload: Any) -> Retry:
        return Retry("1h")

    for name in app.tasks:
        await app.add_job(name, queue_name="q" if name == "works" else None)
    await run_all(app)
    spans: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"process works", "process breaks", "process again", "inside", "inside, too"}
    for outer, inner in (("process works", "inside"), ("process breaks", "inside, too")):
        parent, context = spans[inner].parent, spans[outer].context
        assert parent is not None
        assert context is not None
        assert parent.span_id == context.span_id
    whole = spans["process works"]
    assert whole.kind is trace.SpanKind.CONSUMER
    assert whole.attributes is not None
    assert whole.attributes["messaging.destination.name"] == "works"
    assert whole.attributes["tidemill.attempt"] == 1
    assert whole.attributes["tidemill.queue"] == "q"
    assert whole.status.is_unset
    broken = spans["process breaks"]
    assert (broken.status.status_code, broken.status.description) == (
        trace.StatusCode.ERROR,
        "KeyError: 'gone'",
    )
    assert [event.name for event in broken.events] == ["exception"]
    attributes = spans["process again"].attributes
    assert attributes is not None
    assert attributes["tidemill.outcome"] == "retry"
