"""Jobs under limits, and what a claim costs while very many wait for one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial

import psycopg

from bench.context import Bench
from bench.results import OURS, Cell, Chart, Results, Shape, Verdict, at_least, at_most, over
from bench.shapes.throughput import RATE
from bench.systems.base import Can, System
from bench.systems.tidemill_system import Tidemill

_PLAIN, _ONE, _KEYS = "no limit, by lease", "one limit of 100", "2 of each of 1,000 keys"
_EMPTY, _BEHIND, _FULL_KEYS = "nothing waits", "all behind a full limit", "keys that are all full"
_CLAIM = "claim ms"
_CALLS = 200
_NEEDS = frozenset({Can.SCHEDULE})

_LIMITS = """
    select tidemill.set_limit('one', concurrency => 100), tidemill.set_limit('full', concurrency => 1),
      tidemill.set_limit('two', concurrency => 2, per => 'key'),
      tidemill.set_limit('each', concurrency => 1, per => 'key')
"""
_ADD = """
    select count(*) from tidemill.add_jobs(
      array(select row('noop', json_build_object('key', n %% %(keys)s), null, null, null, null, null, null)
              ::tidemill.job_spec from generate_series(1, %(jobs)s) n),
      limit_names => array_fill(%(name)s::text, array[%(jobs)s]))
"""
_CLAIMED = "select count(id) from tidemill._claim_limited_jobs('bench', '{noop}', 50, null)"


def _fill(name: str | None, keys: int, jobs: int, conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(_LIMITS.encode())
        for start in range(0, jobs, 100_000):
            number = min(100_000, jobs - start)
            connection.execute(_ADD.encode(), {"keys": keys, "jobs": number, "name": name})


def _drain(bench: Bench, system: System, name: str | None) -> Mapping[str, float]:
    # As long as a worker needs some seconds: a claim has to come back for each few jobs of a limit.
    jobs = max(1, bench.jobs // 10)
    with bench.databases.of(system, f"limited {name}", partial(_fill, name, 1000, jobs)) as conninfo:
        return {RATE: bench.throughput(Tidemill("--lane", "lease"), conninfo)[0].rate}


def _claim(bench: Bench, system: System, name: str | None) -> Mapping[str, float]:
    jobs = bench.jobs if name else 0
    keys = max(1, jobs // 10)
    with (
        bench.databases.of(system, f"waiting {name}", partial(_fill, name, keys, jobs)) as conninfo,
        psycopg.connect(conninfo, autocommit=True) as connection,
    ):
        # Until all gates are full.
        while name and connection.execute(_CLAIMED.encode()).fetchone() != (0,):
            pass
        times = []
        for _ in range(_CALLS):
            started = time.perf_counter()
            connection.execute(_CLAIMED.encode())
            times.append(time.perf_counter() - started)
    return {_CLAIM: statistics.median(times) * 1000}


def _cells(bench: Bench) -> list[Cell]:
    return [
        Cell(system.name, variant, partial(measure, bench, system, name))
        for system in bench.able(_NEEDS)
        if system.name == OURS
        for variant, measure, name in (
            (_PLAIN, _drain, None),
            (_ONE, _drain, "one"),
            (_KEYS, _drain, "two"),
            (_EMPTY, _claim, None),
            (_BEHIND, _claim, "full"),
            (_FULL_KEYS, _claim, "each"),
        )
    ]


def _verdicts(results: Results) -> list[Verdict]:
    plain, one, keys = (results.median(OURS, variant, RATE) for variant in (_PLAIN, _ONE, _KEYS))
    empty, behind, full = (results.median(OURS, variant, _CLAIM) for variant in (_EMPTY, _BEHIND, _FULL_KEYS))
    return [
        at_least("a third of the lease lane's rate under one limit", over(one, plain), 0.33, "times"),
        at_least("as much under a limit for each key", over(keys, plain), 0.33, "times"),
        at_most("behind a full limit, a claim at most 2 times as long", over(behind, empty), 2, "times"),
        at_most("with very many full keys, too", over(full, empty), 2, "times"),
    ]


SHAPE = Shape(
    "limits",
    "Limits",
    "--jobs / 10 no-op jobs under limits, one worker process; and a claim of 50 limited jobs when none is "
    "free: on an empty table, with --jobs jobs behind one full limit, and with --jobs / 10 keys of 10 jobs, "
    "all full.",
    _cells,
    _verdicts,
    _NEEDS,
    [Chart(RATE, "limits", "Jobs per second under limits")],
)
