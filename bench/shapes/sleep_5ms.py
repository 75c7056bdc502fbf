"""Tasks that wait 5 ms, two hundred at a time: how well the slots are used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial

import uvloop

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE
from bench.systems.base import Can, System

_CONCURRENCY = 200
_LIMIT = "bare event loop"
_NEEDS = frozenset({Can.NAP, Can.ADD_MANY_IN_SQL})


def _measure(bench: Bench, system: System) -> Mapping[str, float]:
    jobs = min(bench.jobs // 2, system.most_jobs)
    with bench.databases.of(
        system, "naps", lambda conninfo: bench.fill(system, conninfo, jobs, "nap")
    ) as conninfo:
        return {RATE: bench.throughput(system, conninfo, concurrency=_CONCURRENCY)[0].rate}


def _machine_limit(naps: int) -> Mapping[str, float]:
    """The rate of a bare uvloop with as many sleepers."""

    async def sleeper() -> None:
        for _ in range(naps // _CONCURRENCY):
            await asyncio.sleep(0.005)

    async def all_of_them() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(sleeper() for _ in range(_CONCURRENCY)))
        return time.perf_counter() - started

    return {RATE: naps // _CONCURRENCY * _CONCURRENCY / uvloop.run(all_of_them())}


def _cells(bench: Bench) -> list[Cell]:
    cells = [Cell(system.name, "", partial(_measure, bench, system)) for system in bench.able(_NEEDS)]
    return [*cells, Cell(_LIMIT, "", partial(_machine_limit, bench.jobs // 4))]


def _verdicts(results: Results) -> list[Verdict]:
    ours, limit = results.median(OURS, "", RATE), results.median(_LIMIT, "", RATE)
    return [
        at_least("0.9 of a bare event loop's rate", over(ours, limit), 0.9),
    ]


SHAPE = Shape(
    "sleep_5ms",
    "Tasks that wait 5 ms",
    f"Tasks that sleep 5 ms without blocking, {_CONCURRENCY} at a time in one worker process; beside an "
    "event loop (uvloop) with as many sleepers and no other work.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(RATE, "sleep-5ms", f"Tasks of 5 ms per second, {_CONCURRENCY} at a time (ideal: 40k)")],
)
