"""Tidemill, as its own README runs it."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Any

from bench.systems import HERE, OUT, System
from tidemill import App
from tidemill.database.migrate import migrate

app = App()


@app.task
async def noop(payload: Any) -> None:
    """What throughput measures."""


@app.task
async def started(payload: dict[str, Any]) -> None:
    """What latency measures."""
    print("started", payload["id"], flush=True)


class Tidemill(System):
    """The system of this repository."""

    name = "tidemill"
    version = version("tidemill")
    add_one = "select tidemill.add_job('started', %s::json)"
    add_many = (
        "select count(*) from tidemill.add_jobs(array(select row('noop', json_build_object('id', n), "
        "null, null, null, null, null, null)::tidemill.job_spec from generate_series(1, %s) n))"
    )
    left = "select exists (select from tidemill.jobs)"

    def install(self) -> None:
        OUT.mkdir(exist_ok=True)

    def prepare(self, conninfo: str) -> None:
        migrate(conninfo)

    def worker(self, conninfo: str, *, once: bool) -> list[str]:
        os.environ["PYTHONPATH"] = str(HERE.parent)
        return [
            sys.executable,
            "-c",
            "from tidemill.cli import main; main()",
            "worker",
            "--app",
            "bench.tidemill_system:app",
            "--database",
            conninfo,
            "--concurrency",
            "24",
            "--log-level",
            "warning",
            *(["--once"] if once else []),
        ]
