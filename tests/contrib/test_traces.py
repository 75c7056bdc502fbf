"""Traces pass from an add to the runs of its jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.running import run_all
from tidemill import App, JobContext, JobSpec, Retry
from tidemill.contrib.opentelemetry import Traces
from tidemill.errors import InvalidJobError
from tidemill.retry import constant

pytestmark = pytest.mark.versions(18)

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder:
    """A tracer provider, and the spans that went there."""

    def __init__(self) -> None:
        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = self.provider.get_tracer("test")  # type: ignore[assignment]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span


def is_child(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    assert outer.context is not None
    return inner.parent is not None and (inner.parent.trace_id, inner.parent.span_id) == (
        outer.context.trace_id,
        outer.context.span_id,
    )


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def spot(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def traceparent(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def traces(connection: psycopg.Connection) -> list[str | None]:
    return [
        found for (found,) in connection.execute("select trace from tidemill.jobs order by id").fetchall()
    ]


@pytest.fixture
def spans() -> Recorder:
    return Recorder()


@pytest.fixture
def app(database: str, spans: Recorder) -> App:
    return App(database, middleware=[Traces(spans.provider)])


async def test_every_way_to_add(app: App, spans: Recorder, connection: psycopg.Connection) -> None:
    @app.task
    async def work(payload: Any) -> None: ...

    async def in_a_transaction() -> None:
        async with app.connection() as connection:
            await app.add_job("work", connection=connection)

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "app": lambda: app.add_job("work"),
        "specs": lambda: app.add_jobs([work.spec(1)]),
        "transaction": in_a_transaction,
        "task": lambda: work.add(1),
    }
    blocking: dict[str, Callable[[], object]] = {
        "sync app": lambda: app.sync.add_job("work"),
        "sync specs": lambda: app.sync.add_jobs([JobSpec("work")]),
        "sync task": lambda: work.sync.add(1),
    }
    for name, way in ways.items():
        with spans.tracer.start_as_current_span(name):
            await way()
    for name, blocking_way in blocking.items():
        with spans.tracer.start_as_current_span(name):
            blocking_way()
    adds = spans.named("add work")
    assert traces(connection) == [traceparent(add) for add in adds]
    for name, add in zip([*ways, *blocking], adds, strict=True):
        assert is_child(add, spans.one(name)), name
    [first] = connection.execute("select min(id)::text from tidemill.jobs").fetchone() or ()
    assert adds[0].kind is trace.SpanKind.PRODUCER
    assert adds[0].attributes == {
        "messaging.system": "tidemill",
        "messaging.operation.name": "add",
        "messaging.operation.type": "send",
        "messaging.destination.name": "work",
        "messaging.message.id": first,
    }
    await run_all(app)
    runs = sorted(spans.named("process work"), key=lambda run: run.start_time or 0)
    assert sorted(run.parent.span_id for run in runs if run.parent) == sorted(spot(add)[1] for add in adds)
    assert [links(run) for run in runs] == [[spot(add)] for run in runs for add in adds if is_child(run, add)]


async def test_a_batch_has_one_span(app: App, spans: Recorder, connection: psycopg.Connection) -> None:
    with spans.tracer.start_as_current_span("request"):
        await app.add_jobs([JobSpec("a"), JobSpec("b"), JobSpec("a", job_key="k")])
    add = spans.one("add")
    assert traces(connection) == [traceparent(add)] * 3
    assert add.attributes is not None
    assert add.attributes["messaging.batch.message_count"] == 3
    assert "messaging.destination.name" not in add.attributes
    assert "messaging.message.id" not in add.attributes


async def test_a_given_trace_wins(app: App, spans: Recorder, connection: psycopg.Connection) -> None:
    with spans.tracer.start_as_current_span("request"):
        await app.add_job("work", trace=GIVEN)
        await app.add_jobs([JobSpec("many", trace=GIVEN), JobSpec("many"), JobSpec("many", trace="")])
    alone, batch = spans.one("add work"), spans.one("add many")
    assert traces(connection) == [GIVEN, GIVEN, traceparent(batch), ""]
    given = (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert (alone.kind, links(alone)) == (trace.SpanKind.CLIENT, [given])
    assert (batch.kind, links(batch)) == (trace.SpanKind.PRODUCER, [given])


async def test_without_a_span_nothing_changes(
    database: str, app: App, spans: Recorder, connection: psycopg.Connection
) -> None:
    await app.add_job("work")
    app.sync.add_job("work")
    with spans.tracer.start_as_current_span("request"):
        await app.add_jobs([])
        await App(database).add_job("work")
    assert traces(connection) == [None] * 3
    assert [span.name for span in spans.exporter.get_finished_spans()] == ["request"]


async def test_a_refused_add(app: App, spans: Recorder) -> None:
    with spans.tracer.start_as_current_span("request"), pytest.raises(InvalidJobError):
        await app.add_job("work", max_attempts=0)
    assert spans.one("add work").status.status_code is trace.StatusCode.ERROR


async def test_tasks_pass_their_own_span_on(app: App, spans: Recorder) -> None:
    @app.task
    async def first(payload: Any, job: JobContext) -> None:
        await job.add_job("second")

    @app.task
    def second(payload: Any, job: JobContext) -> None:
        job.sync.add_job("third")

    @app.task
    async def third(payload: Any) -> None: ...

    with spans.tracer.start_as_current_span("request"):
        await app.add_job("first")
    await run_all(app)
    chain = [
        spans.one(name)
        for name in (
            *("request", "add first", "process first", "add second", "process second", "add third"),
            "process third",
        )
    ]
    assert all(is_child(inner, outer) for outer, inner in pairwise(chain))


async def test_attempts_have_the_same_parent(app: App, spans: Recorder) -> None:
    attempts = []

    @app.task(retry=constant(0))
    async def breaks(payload: Any, job: JobContext) -> None:
        attempts.append(job.attempt)
        if job.attempt < 3:
            raise KeyError("gone")

    with spans.tracer.start_as_current_span("request"):
        await breaks.add(None)
    while len(attempts) < 3:
        await run_all(app)
    add = spans.one("add breaks")
    assert [is_child(run, add) for run in spans.named("process breaks")] == [True] * 3


async def test_own_traces(database: str, spans: Recorder) -> None:
    app = App(database, middleware=[Traces(spans.provider, own_traces=True)])

    @app.task(max_attempts=1)
    def work(payload: Any) -> Retry:
        return Retry("1h")

    with spans.tracer.start_as_current_span("request"):
        app.sync.add_job("work")
    with spans.tracer.start_as_current_span("worker"):
        await run_all(app)
    add, run = spans.one("add work"), spans.one("process work")
    assert run.parent is None
    assert links(run) == [spot(add)]
    assert spot(run)[0] not in {spot(add)[0], spot(spans.one("worker"))[0]}


@pytest.mark.parametrize(
    "malformed", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "é" * 512, GIVEN[:-1]]
)
async def test_a_malformed_trace_fails_no_job(
    app: App, spans: Recorder, connection: psycopg.Connection, malformed: str
) -> None:
    ran = []

    @app.task
    async def work(payload: Any, job: JobContext) -> None:
        ran.append(job.trace)

    connection.execute("select tidemill.add_job('work', trace => %s)", [malformed])
    await run_all(app)
    run = spans.one("process work")
    assert (ran, run.parent, links(run), run.status.is_unset) == ([malformed], None, [], True)


async def test_a_trace_from_sql(app: App, spans: Recorder, connection: psycopg.Connection) -> None:
    @app.task
    def work(payload: Any) -> None: ...

    connection.execute("select tidemill.add_job('work', trace => %s)", [GIVEN])
    await run_all(app)
    run = spans.one("process work")
    assert run.parent is not None
    assert (run.parent.trace_id, run.parent.span_id, run.parent.is_remote) == (
        0x0AF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
        True,
    )


async def test_what_was_not_sampled_stays_so(app: App, spans: Recorder) -> None:
    @app.task
    async def work(payload: Any) -> None: ...

    await app.add_job("work", trace=GIVEN[:-2] + "00")
    await run_all(app)
    assert spans.exporter.get_finished_spans() == ()
