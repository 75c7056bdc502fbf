"""How late scheduled actions start."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench, check, warm
from bench.measure.latency import percentile
from bench.measure.workers import Worker
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_most
from bench.systems.base import Can, System

_ROUTINE, _TASKS = "10 procedures, each once a second", "1,000 task actions due at once"
_P50, _P99 = "p50 ms", "p99 ms"
_P99_STARTED = "p99 to the jobs' start ms"
_RUNS = 100
_ACTIONS = 1000
_PATIENCE = 60.0
_NEEDS = frozenset({Can.SCHEDULE})

_PROCEDURE = """
    create table started (late interval);
    create procedure note_start(job_id integer, config jsonb) language sql as
      $$ insert into started
         values (clock_timestamp() - current_setting('tidemill.slot')::timestamptz) $$;
    select tidemill.add_action('note_start', '1 second',
        initial_start => date_trunc('second', now()) + interval '2 seconds' + n * interval '100 ms')
      from generate_series(0, 9) n;
"""
_LATE_RUNS = "select extract(epoch from late)::float8 * 1000 from started offset 10"
_TASK_ACTIONS = """
    with due as (select date_trunc('second', now()) + interval '3 seconds' as slot)
    select extract(epoch from max(slot))::float8, count(tidemill.add_action(
      task => 'started', schedule_interval => interval '1 hour', initial_start => slot,
      config => jsonb_build_object('id', n)))
    from due, generate_series(1, %s) n
"""
_LATE_JOBS = """
    select extract(epoch from finished_at - slot)::float8 * 1000
    from tidemill.action_history where task = 'started' and outcome = 'success'
"""


def _measure(bench: Bench, system: System, variant: str) -> Mapping[str, float]:
    with (
        bench.databases.of(system) as conninfo,
        warm(system, conninfo) as worker,
        psycopg.connect(conninfo, autocommit=True) as connection,
    ):
        if variant == _ROUTINE:
            late = _routine(connection, worker)
            return {_P50: percentile(late, 0.5), _P99: percentile(late, 0.99)}
        starts = _tasks(connection, worker)
        late = [milliseconds for (milliseconds,) in connection.execute(_LATE_JOBS).fetchall()]
        return {
            _P50: percentile(late, 0.5),
            _P99: percentile(late, 0.99),
            _P99_STARTED: percentile(starts, 0.99),
        }


def _routine(connection: psycopg.Connection, worker: Worker) -> list[float]:
    connection.execute(_PROCEDURE)
    deadline = time.monotonic() + _PATIENCE
    while True:
        check([worker])
        late = [milliseconds for (milliseconds,) in connection.execute(_LATE_RUNS).fetchall()]
        if len(late) >= _RUNS:
            return late
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(late)} of {_RUNS} runs in {_PATIENCE:g} s")
        time.sleep(0.5)


def _tasks(connection: psycopg.Connection, worker: Worker) -> list[float]:
    [(due, _)] = connection.execute(_TASK_ACTIONS, [_ACTIONS]).fetchall()
    return [(worker.next_start().at - due) * 1000 for _ in range(_ACTIONS)]


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(system.name, variant, partial(_measure, bench, system, variant))
        for variant in (_ROUTINE, _TASKS)
        for system in bench.able(_NEEDS)
    ]


def _verdicts(results: Results) -> list[Verdict]:
    return [
        at_most("a due procedure starts within 10 ms", results.median(OURS, _ROUTINE, _P50), 10, "ms"),
        at_most("1,000 task actions: p99 within 100 ms", results.median(OURS, _TASKS, _P99), 100, "ms"),
    ]


SHAPE = Shape(
    "actions",
    "Scheduled actions",
    f"How late actions start: {_RUNS} runs of ten procedures, one of which is due every 100 ms, until "
    f"their first statement; and {_ACTIONS:,} task actions that are due at the same moment, until their jobs "
    "are added.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(_P50, "actions", "Lateness of starts, median, ms (less is better)")],
)
