"""The rate with a million other jobs in the table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, add_many
from bench.measure.drain import one_number
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.shapes.throughput import RATE
from bench.systems.base import Can, System

_EMPTY = "empty table"
_READY, _UNSEEN = "ready jobs", "ready jobs, no statistics"
_FUTURE = "now() + interval '1 day'"
_BACKLOGS: dict[str, dict[str, str]] = {
    "scheduled": {"run_at": _FUTURE},
    "scheduled, more urgent": {"run_at": _FUTURE, "priority": "-10"},
    "failed": {},
    "foreign": {"task": "foreign"},
}
_NEEDS = frozenset({Can.BACKLOG, Can.ADD_MANY_IN_SQL})


def _measure(bench: Bench, system: System, backlog: str) -> Mapping[str, float]:
    """The rate of the same number of jobs each time: beside the backlog, or the first ones of it."""
    size = bench.jobs * 5
    label = backlog.replace(", ", "_").replace(" ", "_")
    fill = partial(_fill, bench, system, backlog, size)
    with bench.databases.of(system, label, fill, analyze=backlog != _UNSEEN) as conninfo:
        with psycopg.connect(conninfo) as connection:
            last = one_number(connection, f"select coalesce(max(id), -1) from ({system.pending}) p")
        beside = backlog in _BACKLOGS
        if beside or backlog == _EMPTY:
            bench.fill(system, conninfo, bench.jobs)
        drain, _ = bench.throughput(system, conninfo, first=bench.jobs, after=last if beside else None)
        return {RATE: drain.rate}


def _fill(bench: Bench, system: System, backlog: str, size: int, conninfo: str) -> None:
    if backlog == _EMPTY:
        return
    fields = {"task": "noop", **_BACKLOGS.get(backlog, {})}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        add_many(connection, system, size, **fields)
        if backlog == "failed":
            connection.execute(system.fail_all.encode())


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(system.name, backlog, partial(_measure, bench, system, backlog))
        for backlog in (_EMPTY, _READY, _UNSEEN, *_BACKLOGS)
        for system in bench.able(_NEEDS)
    ]


def _verdicts(results: Results) -> list[Verdict]:
    free = results.median(OURS, _EMPTY, RATE)
    return [
        at_least(
            f"0.8 of the empty-table rate beside 1M {backlog}",
            over(results.median(OURS, backlog, RATE), free),
            0.8,
        )
        for backlog in (_READY, _UNSEEN, *_BACKLOGS)
    ]


SHAPE = Shape(
    "backlog",
    "A million other jobs in the table",
    "The rate of --jobs no-op jobs: in an otherwise empty table; as the first of five times as many (a "
    "million) ready jobs, with and without an ANALYZE after the load; and beside a million jobs that are "
    "scheduled for tomorrow, scheduled at a more urgent priority, failed permanently, or of tasks that the "
    "worker lacks.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(RATE, "backlog", "Jobs per second beside a million other jobs")],
)
