"""What the form of a task costs: a coroutine or a plain function, with the job or without."""

from __future__ import annotations

from functools import partial

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE, measure
from bench.systems.tidemill_system import Tidemill

_FORMS = {
    "async def task(payload)": "noop",
    "async def task(payload, job)": "noop_job",
    "def task(payload)": "noop_plain",
    "def task(payload, job)": "noop_plain_job",
}


def _cells(bench: Bench) -> list[Cell]:
    return [Cell(OURS, form, partial(measure, bench, Tidemill(), 1, task)) for form, task in _FORMS.items()]


def _verdicts(results: Results) -> list[Verdict]:
    plain_async, with_job, function, _ = (results.median(OURS, form, RATE) for form in _FORMS)
    return [
        at_least("with the job at least 0.85 of without", over(with_job, plain_async), 0.85, "times"),
        at_least("a plain function at least 0.4 of a coroutine", over(function, plain_async), 0.4, "times"),
    ]


SHAPE = Shape(
    "forms",
    "Throughput by the form of the task",
    "No-op jobs of one task in a full queue, one worker process.",
    _cells,
    _verdicts,
    charts=[Chart(RATE, "forms", "No-op jobs per second by the form of their task")],
)
