"""Times pages of history with millions of finished jobs, on the embedded PostgreSQL 18."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from tidemill import App, WorkerOptions
from tidemill.database import embedded, sql

_DAYS = 7
_ROUNDS = 9
# Of 33 attempts one fails; every 977th failure has another text, which a search has to find.
_DONE = """
insert into tidemill._done_jobs
    (id, created_at, run_at, started_at, finished_at, worker, keep, attempt, max_attempts, priority,
     identifier, payload)
  select i, t - interval '2 s', t - interval '2 s', t - interval '10 ms', t, 1, %(keep)s, 1, 25, 0,
         case when i %% 100000 = 0 then 'rare' else 'task_' || (i %% 20) end,
         '{"to": 12345, "name": "somebody"}'
  from (select i, now() - interval '1 day' * %(days)s + i * interval '1 day' * %(days)s / %(jobs)s as t
        from generate_series(%(first)s, %(last)s) i) made
"""
_FAILED = """
insert into tidemill._ended_attempts
    (id, created_at, run_at, started_at, finished_at, worker, keep, attempt, max_attempts, priority, outcome,
     identifier, error, error_type, error_frame, error_fingerprint, traceback)
  select i, t - interval '2 s', t - interval '2 s', t - interval '10 ms', t, 1, %(keep)s, 1, 25, 0,
         case when i / 33 %% 10 = 0 then 'failed' else 'retried' end, 'task_' || (i %% 20),
         'ValueError: no ' || i || case when i / 33 %% 977 = 0 then ' needle' else '' end,
         'ValueError', 'tasks.py:12 f',
         md5((i %% 50)::text), repeat('a line of the traceback ', 40)
  from (select i, now() - interval '1 day' * %(days)s + i * interval '1 day' * %(days)s / %(jobs)s as t
        from generate_series(%(first)s, %(last)s, 33) i) made
"""

_CHUNKS = """
select tidemill._ensure_chunk(h, tidemill._now_units('timestamptz') - day * 86400000000)
from tidemill._hypertables h, generate_series(1, %(days)s) day
where h.rows_table in ('tidemill._done_jobs_week'::regclass, 'tidemill._ended_attempts_week'::regclass)
"""
# What `tidemill jobs history` asks, by what a page is called.
_PAGES: dict[str, dict[str, Any]] = {
    "newest": {},
    "of a task": {"task": "task_3"},
    "of a rare task": {"task": "rare"},
    "of no task": {"task": "nobody"},
    "done": {"outcome": "done"},
    "failed": {"outcome": "failed"},
    "failed, of a task": {"outcome": "failed", "task": "task_3"},
    "error: a common text": {"error": "valueerror"},
    "error: a rare text, within a day": {"error": "needle", "within": "1 day"},
    "error: a rare text": {"error": "needle"},
    "error: a text that none has": {"error": "haystack"},
}


def main(arguments: Sequence[str]) -> int:
    """Fills history, and prints how long each page takes."""
    parser = argparse.ArgumentParser(prog="python -m bench.history_pages", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000_000, help="finished jobs (default %(default)s)")
    jobs = parser.parse_args(arguments).jobs
    with _database() as conninfo:
        asyncio.run(_open_history(conninfo))
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
            _fill(connection, jobs)
            for label, wanted in _PAGES.items():
                rows, took = _time(connection, wanted)
                print(f"{took:8.1f} ms  {rows:3} rows  {label}")
    return 0


@contextlib.contextmanager
def _database() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as place:
        # If we are root, the server runs as another account, which must reach its files.
        Path(place).chmod(0o711)
        with embedded.start(Path(place) / "server") as server:
            yield server.conninfo()


async def _open_history(conninfo: str) -> None:
    app = App(conninfo)

    @app.task(keep="1 week")
    async def task_3() -> None: ...

    await app.migrate()
    # The first worker that keeps history makes its partitions.
    await app.run_until_empty(WorkerOptions())


def _fill(connection: psycopg.Connection[Any], jobs: int) -> None:
    [(keep,)] = connection.execute("select keep from tidemill._history_keeps")
    params = {"keep": keep, "days": _DAYS, "jobs": jobs}
    connection.execute(_CHUNKS, params)
    step = max(1, jobs // 20)
    for first in range(1, jobs + 1, step):
        part = params | {"first": first, "last": min(jobs, first + step - 1)}
        connection.execute(_DONE, part)
        connection.execute(_FAILED, part)
        print(f"\r{part['last']:,} of {jobs:,} jobs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    connection.execute("vacuum analyze")


def _time(connection: psycopg.Connection[Any], wanted: dict[str, Any]) -> tuple[int, float]:
    """How many rows a page has, and the median of what it takes in milliseconds."""
    names = ("id", "task", "outcome", "error", "since", "within", "until", "until_within")
    params = dict.fromkeys(names) | {"limit": 50, "whole": False} | wanted
    rows, times = 0, []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        rows = len(connection.execute(sql.query("job_history"), params).fetchall())
        times.append((time.perf_counter() - began) * 1000)
    return rows, statistics.median(times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
