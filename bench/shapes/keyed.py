"""Producers that replace each other's jobs while a worker runs them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, warm
from bench.measure import pgbench
from bench.measure.drain import one_number, wait_until_empty
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, at_most, over
from bench.systems.base import Can, System

_CLIENTS, _KEYS, _SECONDS = 32, 100, 4
_RATE, _ERRORS, _DEADLOCKS, _LEFT = "calls/s", "errors", "deadlocks", "jobs left"
_NEEDS = frozenset({Can.KEYS, Can.TELL_START})


def _measure(bench: Bench, system: System) -> Mapping[str, float]:
    statement = system.add_keyed.format(key="'key-' || :k")
    script = f"\\set k random(1, {_KEYS})\n{statement};\n"
    with bench.databases.of(system) as conninfo, warm(system, conninfo) as worker:
        calls = pgbench.call(bench.databases.pgbench, conninfo, script, clients=_CLIENTS, seconds=_SECONDS)
        worker.check()
        with psycopg.connect(conninfo, autocommit=True) as connection:
            # Jobs that stay in the table are lost: no worker runs them.
            left = wait_until_empty(connection, system)
            deadlocks = one_number(
                connection, "select deadlocks from pg_stat_database where datname = current_database()"
            )
    return {_RATE: calls.per_second, _ERRORS: calls.errors, _DEADLOCKS: deadlocks, _LEFT: left}


def _cells(bench: Bench) -> list[Cell]:
    return [Cell(system.name, "", partial(_measure, bench, system)) for system in bench.able(_NEEDS)]


def _verdicts(results: Results) -> list[Verdict]:
    ours, theirs = (results.median(name, "", _RATE) for name in (OURS, "graphile-worker"))
    return [
        # Clients on the same key wait for each other's commits, in any system.
        at_least("3 times graphile-worker's rate", over(ours, theirs), 3, "times"),
        at_most("no error", results.median(OURS, "", _ERRORS), 0),
        at_most("no deadlock", results.median(OURS, "", _DEADLOCKS), 0),
        at_most("no job left behind", results.median(OURS, "", _LEFT), 0),
    ]


SHAPE = Shape(
    "keyed",
    "Keyed jobs",
    f"{_CLIENTS} clients of pgbench replace jobs of {_KEYS} keys again and again for {_SECONDS} s, while a "
    "worker runs the jobs. (The tests show that no update is lost.)",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(_RATE, "keyed", "Keyed add_job calls per second, 32 clients on 100 keys")],
)
