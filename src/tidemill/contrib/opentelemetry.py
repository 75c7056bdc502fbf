"""OpenTelemetry: spans around adds and runs, and figures; with `pip install 'tidemill[opentelemetry]'`."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidemill import forks
from tidemill.context import GivenBack, JobContext
from tidemill.jobs import Cancel, Outcome, Retry
from tidemill.metrics.families import DATABASE_UP, OF_DATABASE, OF_PROCESS, Family, Found, Times
from tidemill.middleware import Adding, Middleware
from tidemill.tallies import plus

# Of a job only the traceparent is kept, whatever the app propagates elsewhere.
_W3C = TraceContextTextMapPropagator()
_OUTCOMES: dict[type[Outcome], str] = {Retry: "retry", Cancel: "cancel", GivenBack: "given_back"}


class Traces(Middleware):
    """Middleware: a span around each attempt, in the trace of whoever added its job, and around each add.

    tracer_provider  where the spans go; default: the global one
    own_traces       True: each attempt begins a trace of its own, which is linked to the add. Default: it is
                     part of the trace of the add, and linked to it besides

    The spans that a task makes are in that of its attempt. An add has a span if it happens in one, and hands
    its context to the jobs that are given no `trace`.
    """

    def __init__(
        self, tracer_provider: trace.TracerProvider | None = None, *, own_traces: bool = False
    ) -> None:
        self._tracer = trace.get_tracer("tidemill", version("tidemill"), tracer_provider)
        self._own_traces = own_traces

    async def wrap(self, job: JobContext, call: Callable[[], Awaitable[Any]]) -> Any:
        """Runs an async task in a span."""
        with self._span(job) as span, _ended(span, job):
            return _noted(span, await call())

    def wrap_sync(self, job: JobContext, call: Callable[[], Any]) -> Any:
        """Runs a plain function in a span."""
        with self._span(job) as span, _ended(span, job):
            result = _noted(span, call())
            # The attempt may have ended before its function.
            _note(span, job._end(None))
            return result

    @contextmanager
    def around_add(self, adding: Adding) -> Iterator[None]:
        """Adds in a span, if it is in one."""
        if not trace.get_current_span().get_span_context().is_valid:
            yield
            return
        specs = adding.specs
        attributes: dict[str, str | int] = {
            "messaging.system": "tidemill",
            "messaging.operation.name": "add",
            "messaging.operation.type": "send",
        }
        name = "add"
        if len({spec.identifier for spec in specs}) == 1:
            attributes["messaging.destination.name"] = specs[0].identifier
            name = f"add {specs[0].identifier}"
        if len(specs) > 1:
            attributes["messaging.batch.message_count"] = len(specs)
        given = {spec.trace for spec in specs}
        with self._tracer.start_as_current_span(
            name,
            # Who follows a producer finds its consumers.
            kind=trace.SpanKind.PRODUCER if None in given else trace.SpanKind.CLIENT,
            attributes=attributes,
            links=[trace.Link(origin) for origin in map(_origin, given) if origin is not None],
        ) as span:
            carrier: dict[str, str] = {}
            _W3C.inject(carrier)
            adding.trace = carrier.get("traceparent")
            yield
            if len(adding.jobs) == 1:
                span.set_attribute("messaging.message.id", str(adding.jobs[0].id))

    def _span(self, job: JobContext) -> AbstractContextManager[trace.Span]:
        """One whose end is to be noted: not all that a task raises is an error."""
        attributes: dict[str, str | int] = {
            "messaging.system": "tidemill",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.identifier,
            "messaging.message.id": str(job.id),
            "tidemill.attempt": job.attempt,
            "tidemill.worker": job.worker_id,
        }
        if job.queue_name is not None:
            attributes["tidemill.queue"] = job.queue_name
        origin = _origin(job.trace)
        context: Context | None = None
        if self._own_traces:
            context = Context()
        elif origin is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(origin), Context())
        return self._tracer.start_as_current_span(
            f"process {job.identifier}",
            context=context,
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=() if origin is None else (trace.Link(origin),),
            record_exception=False,
            set_status_on_exception=False,
        )


def _origin(traceparent: str | None) -> trace.SpanContext | None:
    """The span that a job comes from. None also for what is no traceparent: a job runs all the same."""
    if traceparent is None:
        return None
    found = trace.get_current_span(_W3C.extract({"traceparent": traceparent})).get_span_context()
    return found if found.is_valid else None


@contextmanager
def _ended(span: trace.Span, job: JobContext) -> Iterator[None]:
    """Notes how a task ends that raises: a timeout and a cancel reach it as the same exception."""
    try:
        yield
    except BaseException as error:
        _note(span, job._end(error))
        raise


def _noted(span: trace.Span, result: Any) -> Any:
    """The result; one that asks for a retry or a cancel is noted."""
    if isinstance(result, Outcome):
        _note(span, result)
    return result


def _note(span: trace.Span, end: BaseException | None) -> None:
    """Notes the end of an attempt: an outcome is an attribute, another exception an error."""
    if isinstance(end, Outcome):
        names = (name for kind, name in _OUTCOMES.items() if isinstance(end, kind))
        span.set_attribute("tidemill.outcome", next(names, type(end).__name__.lower()))
    elif end is not None:
        span.record_exception(end)
        span.set_status(trace.StatusCode.ERROR, f"{type(end).__name__}: {end}")


@dataclass(frozen=True)
class _Running:
    """A worker that runs, and how its figures are read."""

    number: int
    figures: Callable[[], Found]
    database: Callable[[], Found | None]


class Metrics(Middleware):
    """Middleware: the figures that Prometheus reads of a worker, as observable instruments.

    meter_provider  where they go; default: the global one

    They are read when the provider collects them, and cost a job nothing. Those of the database come from one
    statement, at most every 5 seconds.
    """

    def __init__(self, meter_provider: metrics.MeterProvider | None = None) -> None:
        self._meter = metrics.get_meter("tidemill", version("tidemill"), meter_provider)
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        # What was counted under each number by workers that have stopped: a counter goes on, and never back.
        self._counted: dict[int, dict[str, dict[str, Any]]] = {}
        for family in OF_PROCESS:
            self._offer(family, self._of_workers)
        for family in OF_DATABASE:
            self._offer(family, self._of_database)
        self._meter.create_observable_gauge(_name(DATABASE_UP[0]), [self._database_up], "", DATABASE_UP[1])

    def _worker_measured(
        self, worker_id: str, figures: Callable[[], Found], database: Callable[[], Found | None]
    ) -> None:
        with self._lock:
            taken = {one.number for one in self._running.values()}
            # Workers that follow one another continue the same series.
            number = min(set(range(1, len(taken) + 2)) - taken)
            self._running[worker_id] = _Running(number, figures, database)

    def worker_stopped(self, worker_id: str) -> None:
        """Keeps what it has counted."""
        with self._lock:
            stopped = self._running.pop(worker_id, None)
            if stopped is not None:
                self._counted[stopped.number] = self._tasks(stopped.number, stopped.figures())

    def _offer(self, family: Family, sources: Callable[[], Iterator[tuple[dict[str, str], Found]]]) -> None:
        def observe(pick: Callable[[Any], Iterable[tuple[dict[str, str], float]]]) -> Any:
            def callback(_: CallbackOptions) -> Iterator[Observation]:
                for attributes, found in sources():
                    for labels, value in family.read(found):
                        own = dict(zip(family.labels, labels, strict=True))
                        for more, picked in pick(value):
                            yield Observation(picked, {**own, **more, **attributes})

            return [callback]

        name = _name(family.name)
        unit = "s" if family.name.endswith("_seconds") else ""
        if family.kind == "gauge":
            self._meter.create_observable_gauge(name, observe(_whole), unit, family.words)
        elif family.kind == "counter":
            self._meter.create_observable_counter(name, observe(_whole), unit, family.words)
        else:
            # No histogram can be observed.
            self._meter.create_observable_counter(
                f"{name}_buckets", observe(_buckets), "", f"{family.words} Of each bucket: those up to le."
            )
            self._meter.create_observable_counter(
                f"{name}_sum", observe(_sum), unit, f"{family.words} The sum."
            )

    def _of_workers(self) -> Iterator[tuple[dict[str, str], Found]]:
        """The figures of each worker of this process; of one that has stopped, what it has counted."""
        if forks.is_child:
            return
        with self._lock:
            found: dict[int, Found] = {
                number: {"tasks": tasks, "in_hand": {}, "troubles": {}}
                for number, tasks in self._counted.items()
            }
            for one in self._running.values():
                figures = one.figures()
                found[one.number] = {**figures, "tasks": self._tasks(one.number, figures)}
        for number, figures in found.items():
            yield {"worker": str(number)}, figures

    def _tasks(self, number: int, figures: Found) -> dict[str, dict[str, Any]]:
        """What has been counted under a number in all."""
        tasks = dict(self._counted.get(number, {}))
        for task, tally in figures["tasks"].items():
            tasks[task] = plus(tasks[task], tally) if task in tasks else tally
        return tasks

    def _of_database(self) -> Iterator[tuple[dict[str, str], Found]]:
        found = self._ask()[1]
        if found is not None:
            yield {}, found

    def _database_up(self, _: CallbackOptions) -> Iterator[Observation]:
        asked, found = self._ask()
        if asked:
            yield Observation(float(found is not None))

    def _ask(self) -> tuple[bool, Found | None]:
        """Whether any worker runs here, and what the database says, which is the same for all of them."""
        with self._lock:
            first = next(iter(self._running.values()), None)
        return (False, None) if first is None or forks.is_child else (True, first.database())


def _name(prometheus: str) -> str:
    """In OpenTelemetry's style; exporters for Prometheus make the other name of it, and of the unit."""
    return prometheus.removesuffix("_seconds").replace("_", ".", 1)


def _whole(value: float) -> Iterator[tuple[dict[str, str], float]]:
    yield {}, value


def _buckets(times: Times) -> Iterator[tuple[dict[str, str], float]]:
    for bound, count in times.buckets:
        yield {"le": bound}, count


def _sum(times: Times) -> Iterator[tuple[dict[str, str], float]]:
    yield {}, times.sum
