"""How the rate changes with the backlog, and with the size of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, add_many, check, warm
from bench.measure.drain import Watch
from bench.results import OURS, Cell, Chart, Shape
from bench.shapes.throughput import RATE
from bench.systems.base import Can, System

_BATCHES = (10, 30, 100, 300, 1000, 3000, 10_000)
_BACKLOG, _BATCH = "backlog", "batch"
_NEEDS = frozenset({Can.ADD_MANY_IN_SQL, Can.TELL_START})


def _backlog(bench: Bench, system: System, jobs: int) -> Mapping[str, float]:
    """Counts from the commit that adds all jobs beside an idle worker: small backlogs have no steady rate."""
    with (
        bench.databases.of(system) as conninfo,
        warm(system, conninfo) as worker,
        psycopg.connect(conninfo) as connection,
    ):
        add_many(connection, system, jobs, "noop")
        watch = Watch(connection, system, first=min(jobs, bench.jobs))
        connection.commit()
        connection.autocommit = True
        return {RATE: watch.until_done(bench.cap, lambda: check([worker]), from_now=True).rate}


def _batch(bench: Bench, system: System, size: int) -> Mapping[str, float]:
    with bench.databases.of(
        system, f"{bench.jobs}_jobs", lambda conninfo: bench.fill(system, conninfo, bench.jobs)
    ) as conninfo:
        drain, _ = bench.throughput(system, conninfo, environment={"TIDEMILL_BENCH_BATCH": str(size)})
        return {RATE: drain.rate}


def _cells(bench: Bench) -> list[Cell]:
    largest = bench.jobs * (50 if bench.full else 5)
    sizes = [size for size in (1000, 10_000, 100_000, 1_000_000, 10_000_000) if size <= largest]
    return [
        *(
            Cell(system.name, f"{_BACKLOG} {size}", partial(_backlog, bench, system, size))
            for size in sizes
            for system in bench.able(_NEEDS)
            if size <= max(system.most_jobs, sizes[0])
        ),
        *(
            Cell(system.name, f"{_BATCH} {size}", partial(_batch, bench, system, size))
            for size in _BATCHES
            for system in bench.systems
            if system.name == OURS
        ),
    ]


SHAPE = Shape(
    "growth",
    "How the rate grows",
    "Jobs per second by the number of jobs added, from their commit beside an idle worker (of a large "
    "number, only the first --jobs count; slow systems get no large number); and by the size of the "
    "largest batch, on a full queue.",
    _cells,
    needs=_NEEDS,
    charts=[
        Chart(RATE, "growth-backlog", "Jobs per second by jobs waiting", "jobs waiting", _BACKLOG),
        Chart(RATE, "growth-batch", "Jobs per second by largest batch", "largest batch, jobs", _BATCH),
    ],
)
