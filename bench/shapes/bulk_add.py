"""Many jobs in one call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, add_many
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, over
from bench.systems.base import Can, System

_RATE = "jobs/s"
_SQL, _LANGUAGE = "one SQL call", "from its language"
_COPY = "COPY, the same indexes"


def _in_sql(bench: Bench, system: System, jobs: int) -> Mapping[str, float]:
    jobs = min(jobs, system.most_jobs)
    with bench.databases.of(system) as at, psycopg.connect(at, autocommit=True) as connection:
        started = time.perf_counter()
        add_many(connection, system, jobs, "noop")
        return {_RATE: jobs / (time.perf_counter() - started)}


def _from_language(bench: Bench, system: System, jobs: int) -> Mapping[str, float]:
    jobs = min(jobs, system.most_jobs)
    with bench.databases.of(system) as conninfo:
        return {_RATE: jobs / system.add_from_language(conninfo, jobs)}


def _copy(bench: Bench, ours: System, jobs: int) -> Mapping[str, float]:
    """Copies the same rows into a table with the same columns and indexes."""
    with bench.databases.of(ours) as conninfo, psycopg.connect(conninfo) as connection:
        add_many(connection, ours, jobs, "noop")
        with connection.cursor().copy("copy tidemill._jobs to stdout") as copy:
            rows = b"".join(bytes(part) for part in copy)
        connection.execute("create table bare (like tidemill._jobs including defaults including indexes)")
        connection.execute("truncate tidemill._jobs")
        connection.commit()
        started = time.perf_counter()
        with connection.cursor().copy("copy bare from stdin") as copy:
            copy.write(rows)
        connection.commit()
        return {_RATE: jobs / (time.perf_counter() - started)}


def _cells(bench: Bench) -> list[Cell]:
    jobs = bench.jobs // 2
    cells = [
        Cell(system.name, _SQL, partial(_in_sql, bench, system, jobs))
        for system in bench.able(frozenset({Can.ADD_MANY_IN_SQL}))
        if system.has_sql_call
    ]
    cells.append(Cell(_COPY, _SQL, partial(_copy, bench, bench.systems[0], jobs)))
    return cells + [
        Cell(system.name, _LANGUAGE, partial(_from_language, bench, system, jobs)) for system in bench.systems
    ]


def _verdicts(results: Results) -> list[Verdict]:
    ours = results.median(OURS, _SQL, _RATE)
    return [
        *(
            at_least(
                f"2 times graphile-worker's, {variant}",
                over(results.median(OURS, variant, _RATE), results.median("graphile-worker", variant, _RATE)),
                2,
                "times",
            )
            for variant in (_SQL, _LANGUAGE)
        ),
        at_least("0.8 of a COPY into such a table", over(ours, results.median(_COPY, _SQL, _RATE)), 0.8),
    ]


SHAPE = Shape(
    "bulk_add",
    "Bulk adds",
    "100k jobs in one call: of add_jobs in SQL, and of each system's bulk call in its own language; beside "
    "a COPY of the same rows into a table with the same columns and indexes.",
    _cells,
    _verdicts,
    charts=[Chart(_RATE, "bulk-add", "Jobs added per second in bulk")],
)
