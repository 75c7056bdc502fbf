"""A few long tasks among many short ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.context import Bench, warm
from bench.measure.latency import percentile, steadily
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_most, over
from bench.systems.base import Can, System

_SHORT, _MIXED = "short only", "1 % of 2 s"
_P50, _P99 = "p50 ms", "p99 ms"
_PER_SECOND, _SECONDS = 400, 6
_CONCURRENCY = 50
_NEEDS = frozenset({Can.ADD_IN_SQL, Can.TELL_START})


def _measure(bench: Bench, system: System, variant: str) -> Mapping[str, float]:
    with bench.databases.of(system) as conninfo, warm(system, conninfo, _CONCURRENCY) as worker:
        samples = steadily(
            system,
            conninfo,
            worker,
            per_second=_PER_SECOND,
            seconds=_SECONDS,
            long_every=100 if variant == _MIXED else 0,
        )
    return {_P50: percentile(samples, 0.5), _P99: percentile(samples, 0.99)}


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(system.name, variant, partial(_measure, bench, system, variant))
        for variant in (_SHORT, _MIXED)
        for system in bench.able(_NEEDS)
    ]


def _verdicts(results: Results) -> list[Verdict]:
    mixed, short = (results.median(OURS, variant, _P99) for variant in (_MIXED, _SHORT))
    return [
        at_most("p99 of short tasks at most 2 times that without long ones", over(mixed, short), 2, "times")
    ]


SHAPE = Shape(
    "mixed",
    "Long tasks among short ones",
    f"Milliseconds from add to start of short jobs, when {_PER_SECOND} jobs a second are added for "
    f"{_SECONDS} s to a worker with {_CONCURRENCY} slots: if all are short, and if one in a hundred takes "
    "two seconds.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(_P99, "mixed", "Add to start of short tasks, 99th percentile, ms (less is better)")],
)
