"""Tidemill, as its own README runs it."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

from bench.systems.base import HERE, OUT, Can, System
from tidemill import App, JobSpec
from tidemill.database.migrate import migrate


class Tidemill(System):
    """The system of this repository; `words` are further options of its worker."""

    name = "tidemill"
    version = version("tidemill")
    pending = "select id from tidemill._jobs"
    add_one = "select tidemill.add_job('{task}', '{payload}'::json)"
    add_many = (
        "select count(*) from tidemill.add_jobs(array(select "
        "row('{task}', json_build_object('id', n), {queue}, {run_at}, null, null, {priority}, null)::"
        "tidemill.job_spec from generate_series(1, {jobs}) n))"
    )
    add_keyed = "select tidemill.add_job('noop', job_key => {key})"
    fail_all = "select count(*) from tidemill.permanently_fail_jobs(array(select id from tidemill._jobs))"
    can = frozenset(Can)

    def __init__(self, *words: str) -> None:
        self._words = words

    def install(self) -> None:
        OUT.mkdir(exist_ok=True)

    def prepare(self, conninfo: str) -> None:
        migrate(conninfo)

    def plain_worker(self, conninfo: str) -> list[str]:
        return [
            str(Path(sys.executable).with_name("tidemill")),
            "worker",
            *("--app", "bench.systems.tidemill_tasks:app"),
            *("--database", conninfo),
            *self._words,
        ]

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        return [*self.plain_worker(conninfo), "--concurrency", str(concurrency)]

    def environment(self, conninfo: str) -> dict[str, str]:
        return {**super().environment(conninfo), "PYTHONPATH": str(HERE.parent)}

    def add_from_language(self, conninfo: str, jobs: int) -> float:
        specs = [JobSpec("noop", {"id": number}) for number in range(jobs)]
        with App(conninfo).sync as app:
            started = time.perf_counter()
            app.add_jobs(specs)
            return time.perf_counter() - started
