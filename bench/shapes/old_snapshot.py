"""A transaction that keeps every dead row in the table for the whole run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

import psycopg
from psycopg import IsolationLevel

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE
from bench.systems.base import Can, System

_FREE, _PINNED = "free", "old snapshot held"
_EVENNESS = "last/first fifth"
_NEEDS = frozenset({Can.ADD_MANY_IN_SQL})


def _measure(bench: Bench, system: System, variant: str) -> Mapping[str, float]:
    jobs = min(bench.jobs * 5 // 2, system.most_jobs)
    with contextlib.ExitStack() as stack:
        conninfo = stack.enter_context(
            bench.databases.of(system, "2_5_fold", lambda at: bench.fill(system, at, jobs))
        )
        if variant == _PINNED:
            old = stack.enter_context(psycopg.connect(conninfo))
            old.isolation_level = IsolationLevel.REPEATABLE_READ
            old.execute("select pg_current_xact_id()")
        drain, _ = bench.throughput(system, conninfo)
        return {RATE: drain.rate, _EVENNESS: drain.evenness}


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(system.name, variant, partial(_measure, bench, system, variant))
        for variant in (_FREE, _PINNED)
        for system in bench.able(_NEEDS)
    ]


def _verdicts(results: Results) -> list[Verdict]:
    free, pinned = (results.median(OURS, variant, RATE) for variant in (_FREE, _PINNED))
    evenness = results.median(OURS, _PINNED, _EVENNESS)
    return [
        at_least("0.8 of the free rate", over(pinned, free), 0.8),
        at_least("flat to the end (last fifth at least 0.8 of the first)", evenness, 0.8),
    ]


SHAPE = Shape(
    "old_snapshot",
    "An old snapshot held open",
    "2.5 times --jobs (500k) no-op jobs, with and without a REPEATABLE READ transaction that keeps a "
    "snapshot and a transaction id open.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(RATE, "old-snapshot", "Jobs per second while an old snapshot is held")],
)
