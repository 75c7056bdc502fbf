"""Jobs that must run one at a time in each of many queues."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE
from bench.systems.base import Can, System

_PER_QUEUE = 20
_NEEDS = frozenset({Can.NAMED_QUEUES, Can.ADD_MANY_IN_SQL})


def _measure(bench: Bench, system: System) -> Mapping[str, float]:
    queues = min(bench.jobs, system.most_jobs) // _PER_QUEUE
    with bench.databases.of(system, "queues", partial(_fill, bench, system, queues)) as conninfo:
        return {RATE: bench.throughput(system, conninfo)[0].rate}


def _fill(bench: Bench, system: System, queues: int, conninfo: str) -> None:
    bench.fill(system, conninfo, queues * _PER_QUEUE, queue=f"'queue-' || n % {queues}")


def _cells(bench: Bench) -> list[Cell]:
    return [Cell(system.name, "", partial(_measure, bench, system)) for system in bench.able(_NEEDS)]


def _verdicts(results: Results) -> list[Verdict]:
    ours, theirs = (results.median(name, "", RATE) for name in (OURS, "graphile-worker"))
    # The order within a queue is exact: a claim looks at each queue's first jobs, and locks its row.
    return [at_least("3 times graphile-worker's", over(ours, theirs), 3, "times")]


SHAPE = Shape(
    "named_queues",
    "Named queues",
    f"{_PER_QUEUE} no-op jobs in each of --jobs / {_PER_QUEUE} (10,000) named queues, one worker process.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(RATE, "named-queues", "Jobs per second, 10k named queues of 20 jobs")],
)
