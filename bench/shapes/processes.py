"""Several worker processes at once, and each system with its best number of them."""

from __future__ import annotations

from functools import partial

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE, measure

_COUNTS = (1, 2, 4)


def _variant(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(system.name, _variant(count), partial(measure, bench, system, count))
        for count in _COUNTS
        for system in bench.systems
    ]


def _verdicts(results: Results) -> list[Verdict]:
    one = results.median(OURS, _variant(1), RATE)
    more = [
        at_least(
            f"{count} worker processes at least {least:g} times one",
            over(results.median(OURS, _variant(count), RATE), one),
            least,
            "times",
        )
        # On two cores; PostgreSQL needs half of them.
        for count, least in ((2, 1.25), (4, 1))
    ]
    return [
        at_least(
            "5 times graphile-worker's, each with its best number of processes",
            over(results.best(OURS, RATE), results.best("graphile-worker", RATE)),
            5,
            "times",
        ),
        *more,
    ]


SHAPE = Shape(
    "processes",
    "Throughput, 1, 2 and 4 worker processes",
    "No-op jobs in a full queue; jobs per second of all worker processes together.",
    _cells,
    _verdicts,
    charts=[Chart(RATE, "processes", "No-op jobs per second by number of worker processes")],
)
