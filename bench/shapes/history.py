"""What history costs: the jobs of one worker with it and without, in both lanes."""

from __future__ import annotations

from functools import partial

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE, measure
from bench.systems.tidemill_system import Tidemill

_LANES = {"express": "--lane auto", "lease": "--lane lease"}
_KEEP = " --keep 1d"


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(OURS, words, partial(measure, bench, Tidemill(*words.split()), 1))
        for lane in _LANES.values()
        for words in (lane, lane + _KEEP)
    ]


def _verdicts(results: Results) -> list[Verdict]:
    def share(lane: str) -> float | None:
        with_history = results.median(OURS, _LANES[lane] + _KEEP, RATE)
        return over(with_history, results.median(OURS, _LANES[lane], RATE))

    return [
        at_least("the express lane with history at least 0.6 of without", share("express"), 0.6, "times"),
        at_least("the lease lane with history at least 0.95 of without", share("lease"), 0.95, "times"),
    ]


SHAPE = Shape(
    "history",
    "What history costs",
    "No-op jobs in a full queue, one worker process, with and without `--keep 1d`.",
    _cells,
    _verdicts,
    charts=[Chart(RATE, "history", "No-op jobs per second with history and without")],
)
