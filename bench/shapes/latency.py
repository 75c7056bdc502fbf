"""From add to start, on an idle worker."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.context import Bench, warm
from bench.measure.latency import one_by_one, percentile
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_most, over
from bench.systems.base import Can, System

_IDLE, _FOREIGN = "empty table", "beside foreign jobs"
_P50, _P99 = "p50 ms", "p99 ms"
_WARM_UP = 30
_SAMPLES = 400
_SECONDS = 20
_NEEDS = frozenset({Can.ADD_IN_SQL, Can.TELL_START})


def _measure(bench: Bench, system: System, foreign: int) -> Mapping[str, float]:
    label, fill = "empty", None
    if foreign:
        label, fill = "foreign", partial(_add_foreign, bench, system, foreign)
    with bench.databases.of(system, label, fill) as conninfo, warm(system, conninfo) as worker:
        samples = one_by_one(system, conninfo, worker, _WARM_UP + _SAMPLES, _SECONDS)
    # Of a slow system there may be fewer than the warm-up.
    samples = samples[min(_WARM_UP, len(samples) // 2) :]
    return {_P50: percentile(samples, 0.5), _P99: percentile(samples, 0.99)}


def _add_foreign(bench: Bench, system: System, jobs: int, conninfo: str) -> None:
    bench.fill(system, conninfo, jobs, "foreign")


def _cells(bench: Bench) -> list[Cell]:
    return [
        *(Cell(system.name, _IDLE, partial(_measure, bench, system, 0)) for system in bench.able(_NEEDS)),
        *(
            Cell(system.name, _FOREIGN, partial(_measure, bench, system, bench.jobs * 5))
            for system in bench.able(_NEEDS | {Can.BACKLOG})
        ),
    ]


def _verdicts(results: Results) -> list[Verdict]:
    below = [
        at_most(
            f"{metric[:3]} at most {most:g} times graphile-worker's, {variant}",
            over(results.median(OURS, variant, metric), results.median("graphile-worker", variant, metric)),
            most,
            "times",
        )
        # A claim of our own and two changes of thread stand between.
        for variant, most in ((_IDLE, 1.25), (_FOREIGN, 1))
        for metric in (_P50, _P99)
    ]
    return [at_most("p50 under 2 ms over a socket", results.median(OURS, _IDLE, _P50), 2, "ms"), *below]


SHAPE = Shape(
    "latency",
    "Latency from add to start",
    "Milliseconds from just before add_job to the task's first line, one job at a time on an idle worker, "
    f"over a Unix socket, for {_SECONDS} s at most; and the same with five times --jobs (a million) jobs in "
    "the table, of tasks that the worker lacks (of systems to which the harness can add such jobs).",
    _cells,
    _verdicts,
    _NEEDS,
    [
        Chart(_P50, "latency-p50", "Add to start, median, ms (less is better)"),
        Chart(_P99, "latency-p99", "Add to start, 99th percentile, ms (less is better)"),
    ],
)
