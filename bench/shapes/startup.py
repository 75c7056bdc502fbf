"""How long a worker takes to start, and how much memory it needs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, memory, warm
from bench.measure.workers import running
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_most, over
from bench.systems.base import Can, System, environment

_START, _REST, _BUSY = "start ms", "MB at rest", "MB at full rate"
_LIMIT = "asyncio, the driver and a connection"
# It ends without a teardown, since the start of a worker has none.
_BARE = "import asyncio, os, psycopg, sys; psycopg.connect(sys.argv[1]).execute('select 1'); os._exit(0)"
_NEEDS = frozenset({Can.ADD_IN_SQL, Can.TELL_START})


def _measure(bench: Bench, system: System) -> Mapping[str, float]:
    with bench.databases.of(system) as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(system.add_one.format(task="started", payload='{"id": 1}').encode())
        began = time.time()
        with running(system, conninfo) as [worker]:
            start = worker.next_start().at - began
    with bench.databases.of(system) as conninfo, warm(system, conninfo) as worker:
        at_rest = memory(worker.process.pid)
    jobs = min(bench.jobs, system.most_jobs)
    with bench.databases.of(
        system, f"{jobs}_jobs", lambda conninfo: bench.fill(system, conninfo, jobs)
    ) as conninfo:
        _, [busy] = bench.throughput(system, conninfo)
    return {_START: start * 1000, _REST: at_rest / 1000, _BUSY: busy / 1000}


def _machine_limit(bench: Bench) -> Mapping[str, float]:
    """What a Python program takes that only imports what every worker needs, and connects once."""
    with bench.databases.of(bench.systems[0]) as conninfo:
        began = time.time()
        subprocess.run([sys.executable, "-c", _BARE, conninfo], env=environment(conninfo), check=True)
        return {_START: (time.time() - began) * 1000}


def _cells(bench: Bench) -> list[Cell]:
    cells = [Cell(system.name, "", partial(_measure, bench, system)) for system in bench.able(_NEEDS)]
    return [*cells, Cell(_LIMIT, "", partial(_machine_limit, bench))]


def _verdicts(results: Results) -> list[Verdict]:
    return [
        at_most(
            "start within twice what a program takes that imports asyncio and the driver, and connects",
            over(results.median(OURS, "", _START), results.median(_LIMIT, "", _START)),
            2,
            "times",
        ),
        at_most("under 80 MB at rest", results.median(OURS, "", _REST), 80, "MB"),
        at_most("under 80 MB at full rate", results.median(OURS, "", _BUSY), 80, "MB"),
    ]


SHAPE = Shape(
    "startup",
    "Start and memory",
    "The time from the start of a worker's process to the first line of its first job; its resident memory "
    "at rest, and the most that it had at full rate. Beside it a Python program that imports asyncio and the "
    "driver, and connects once.",
    _cells,
    _verdicts,
    _NEEDS,
    [
        Chart(_START, "startup", "Worker start to first job, ms (less is better)"),
        Chart(_BUSY, "memory", "Memory of a worker at full rate, MB (less is better)"),
    ],
)
