"""What the output costs: a worker as it comes, beside one that logs less, and one that logs each job."""

from __future__ import annotations

from functools import partial

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE, measure
from bench.systems.base import AS_IT_COMES
from bench.systems.tidemill_system import Tidemill

_QUIET, _EACH = "--log-level warning", "--log-jobs"


def _cells(bench: Bench) -> list[Cell]:
    variants = {AS_IT_COMES: "", _QUIET: _QUIET, _EACH: _EACH}
    return [
        Cell(OURS, variant, partial(measure, bench, Tidemill(*words.split()).as_it_comes(), 1))
        for variant, words in variants.items()
    ]


def _verdicts(results: Results) -> list[Verdict]:
    as_it_comes, quiet = (results.median(OURS, variant, RATE) for variant in (AS_IT_COMES, _QUIET))
    return [
        at_least("as it comes at least 0.9 of --log-level warning", over(as_it_comes, quiet), 0.9, "times")
    ]


SHAPE = Shape(
    "defaults",
    "What the output costs",
    "No-op jobs in a full queue, one `tidemill worker` as it comes, with more or less output.",
    _cells,
    _verdicts,
    charts=[Chart(RATE, "defaults", "No-op jobs per second by what is logged")],
)
