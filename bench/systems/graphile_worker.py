"""Graphile Worker, from npm, as it comes and with the settings of its own performance test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.systems.base import Can, System, url
from bench.systems.install import NodePeer

# Its command has no options for these. By the name `graphile.config.js` it would find them as it comes, too.
_CONFIG = "tuned.config.js"
_WORKER: dict[str, Any] = {
    "localQueue": {"size": 500, "refetchDelay": {"durationMs": 10}},
    "completeJobBatchDelay": 0,
    "failJobBatchDelay": 0,
}


class GraphileWorker(NodePeer, System):
    """Is started by its own command, beside its tasks; tuned, it is also given a file of settings."""

    name = "graphile-worker"
    package = "graphile-worker@^0.17"
    pending = "select id from graphile_worker._private_jobs"
    add_one = "select graphile_worker.add_job('{task}', '{payload}'::json)"
    add_many = (
        "select count(*) from graphile_worker.add_jobs(array(select "
        "row('{task}', json_build_object('id', n), {queue}, {run_at}, null, null, {priority}, null)::"
        "graphile_worker.job_spec from generate_series(1, {jobs}) n))"
    )
    add_keyed = "select graphile_worker.add_job('noop', job_key => {key})"
    fail_all = (
        "select count(*) from graphile_worker.permanently_fail_jobs("
        "array(select id from graphile_worker._private_jobs), 'for the benchmark')"
    )
    can = frozenset(Can) - {Can.SCHEDULE}

    def prepare(self, conninfo: str) -> None:
        self.run(conninfo, Path(self._command), "-c", url(conninfo), "--schema-only")

    def install(self) -> None:
        super().install()
        (self.place / _CONFIG).write_text(f"module.exports = {json.dumps({'worker': _WORKER})};\n")

    def plain_worker(self, conninfo: str) -> list[str]:
        return [self._command, "-c", url(conninfo)]

    def worker(self, conninfo: str, concurrency: int) -> list[str]:
        sizes = ["-j", str(concurrency), "-m", str(concurrency + 1)]
        return [*self.plain_worker(conninfo), *sizes, "-C", _CONFIG]

    def variables(self) -> dict[str, str]:
        return {"NO_LOG_SUCCESS": "1"} if self.tuned else {}

    def notes(self) -> str:
        return f"{_CONFIG} has worker: {json.dumps(_WORKER)}" if self.tuned else ""

    def add_from_language(self, conninfo: str, jobs: int) -> float:
        return float(self.run(conninfo, self.place / "add.js", str(jobs)))

    @property
    def _command(self) -> str:
        return str(self.place / "node_modules" / ".bin" / "graphile-worker")
