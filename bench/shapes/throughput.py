"""No-op jobs: the cost of the queue alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.systems.base import AS_IT_COMES, TUNED, System

RATE = "jobs/s"


def measure(bench: Bench, system: System, count: int, task: str = "noop") -> Mapping[str, float]:
    """The rate of `count` worker processes on a full queue."""
    jobs = min(bench.jobs, system.most_jobs)
    with bench.databases.of(
        system, f"{jobs}_jobs_{task}", lambda at: bench.fill(system, at, jobs, task)
    ) as conninfo:
        drain, _ = bench.throughput(system, conninfo, count=count)
        return {RATE: drain.rate}


def _cells(bench: Bench) -> list[Cell]:
    return [
        *(
            Cell(system.name, AS_IT_COMES, partial(measure, bench, system.as_it_comes(), 1))
            for system in bench.systems
        ),
        *(Cell(system.name, TUNED, partial(measure, bench, system, 1)) for system in bench.systems),
    ]


def _verdicts(results: Results) -> list[Verdict]:
    ours = results.median(OURS, TUNED, RATE)
    return [
        # PostgreSQL and Python need 3.8 us each of a job on two cores.
        at_least(
            "5.5 times graphile-worker's one process",
            over(ours, results.median("graphile-worker", TUNED, RATE)),
            5.5,
            "times",
        ),
        at_least("stretch: 200k jobs/s", ours, 200_000, RATE),
    ]


SHAPE = Shape(
    "throughput",
    "Throughput, one worker process",
    "No-op jobs in a full queue, one worker process; jobs per second until all are done. Each system runs "
    "twice: as it comes, and tuned. What was run says how.",
    _cells,
    _verdicts,
    charts=[Chart(RATE, "throughput", "No-op jobs per second, one worker process")],
)
